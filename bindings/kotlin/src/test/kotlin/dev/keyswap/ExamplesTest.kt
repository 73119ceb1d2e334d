package dev.keyswap

import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The examples, each as a program of its own, against a real endpoint and API. */
class ExamplesTest {
    @Test
    fun `a program that lives through a rotation`() = World.start().use { world ->
        val java = "${System.getProperty("java.home")}/bin/java"
        val natives = System.getProperty("jna.library.path")
        val program = ProcessBuilder(
            java, "-Djna.library.path=$natives", "-cp", System.getProperty("java.class.path"), "LivesThroughARotationKt",
        ).redirectErrorStream(true)
        program.environment() += mapOf(
            "KEYSWAP_SET_URL" to world.setUrl,
            "KEYSWAP_BOOTSTRAP" to world.bootstrap,
            "API_URL" to world.apiUrl,
        )
        val running = program.start()
        while (world.count("api.accepted") < 4 && running.isAlive) Thread.onSpinWait()
        world.step("cut")
        val said = running.inputStream.bufferedReader().readText()
        assertTrue(running.waitFor(30, TimeUnit.SECONDS), said)
        assertEquals(0, running.exitValue(), said)
        assertTrue("from k1 to k2" in said && "ks_" !in said, said)
        assertEquals(0, world.count("leaks"))
    }
}
