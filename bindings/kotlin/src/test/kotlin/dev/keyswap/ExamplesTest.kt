package dev.keyswap

import java.io.File
import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The examples, each as a program of its own, against a real endpoint and API. */
class ExamplesTest {
    @Test
    fun `a program that lives through a rotation`() = World.start().use { world ->
        val running = program("LivesThroughARotationKt", world)
        while (world.count("api.accepted") < 4 && running.isAlive) Thread.onSpinWait()
        world.step("cut")
        val said = running.said()
        assertTrue("from k1 to k2" in said && "ks_" !in said, said)
        assertEquals(0, world.count("leaks"))
    }

    @Test
    fun `a program that lives through a rotation, in Java`() = World.start().use { world ->
        // As its source, which `java` compiles.
        val running = program(File(ROOT, "examples/java/LivesThroughARotation.java").path, world)
        while (world.count("api.accepted") < 4 && running.isAlive) Thread.onSpinWait()
        world.step("cut")
        val said = running.said()
        assertTrue("from k1 to k2" in said && "k2 replaces k1" in said && "ks_" !in said, said)
        assertEquals(0, world.count("leaks"))
    }

    @Test
    fun `a program with an HTTP library of its own, and a signature`() = World.start().use { world ->
        val said = program("OwnHttpLibraryKt", world).said()
        assertTrue(said.lines().count { "with k1: {" in it } == 2 && "ks_" !in said, said)
        assertEquals(2, world.count("api.accepted"))
        assertEquals(0, world.count("leaks"))
    }

    @Test
    fun `what the README shows of an attempt is in that program`() {
        val program = File(ROOT, "examples/kotlin/OwnHttpLibrary.kt").readText()
        val readme = File(ROOT, "bindings/kotlin/README.md").readText()
        val shown = Regex("```kotlin\n(.*?)```", RegexOption.DOT_MATCHES_ALL).findAll(readme).map { it.groupValues[1] }
            .filter { "attempt.step" in it || "Signature(" in it }.toList()
        assertEquals(2, shown.size)
        for (block in shown) assertTrue(block in program, block)
        val java = File(ROOT, "examples/java/LivesThroughARotation.java").readText()
        assertTrue(readme.substringAfter("```java\n").substringBefore("```").prependIndent("        ") in java, "Java")
    }

    private fun program(name: String, world: World): Process {
        val java = "${System.getProperty("java.home")}/bin/java"
        val natives = System.getProperty("jna.library.path")
        val program = ProcessBuilder(java, "-Djna.library.path=$natives", "-cp", System.getProperty("java.class.path"), name)
            .redirectErrorStream(true)
        program.environment() += mapOf(
            "KEYSWAP_SET_URL" to world.setUrl,
            "KEYSWAP_BOOTSTRAP" to world.bootstrap,
            "API_URL" to world.apiUrl,
        )
        return program.start()
    }

    private fun Process.said(): String {
        val said = inputStream.bufferedReader().readText()
        assertTrue(waitFor(30, TimeUnit.SECONDS), said)
        assertEquals(0, exitValue(), said)
        return said
    }
}
