package dev.keyswap

import java.io.File
import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The examples, each as a program of its own, against a real endpoint and API. */
class ExamplesTest {
    @Test
    fun `a program that lives through a rotation`() {
        livesThroughARotation("LivesThroughARotationKt")
    }

    @Test
    fun `a program that lives through a rotation, in Java`() {
        // As its source, which `java` compiles.
        livesThroughARotation(File(ROOT, "examples/java/LivesThroughARotation.java").path)
    }

    @Test
    fun `a program that lives through a rotation with Ktor, and is told of it`() {
        val told = livesThroughARotation("WithKtorKt")
        assertTrue("k2 instead of k1" in told, "$told")
    }

    /** The key is cut while the program sends, and it does not notice. Returns what else it said. */
    private fun livesThroughARotation(name: String): List<String> = World.start().use { world ->
        val running = program(name, world)
        while (world.count("api.accepted") < 4 && running.isAlive) Thread.onSpinWait()
        world.step("cut")
        val said = running.said()
        val (answers, rest) = said.trim().lines().partition { Regex("k[12]: .*").matches(it) }
        assertEquals(100, answers.size, said)
        assertTrue(answers.all { ": 200 {" in it }, said)
        assertTrue(answers.first().startsWith("k1") && answers.last().startsWith("k2") && "ks_" !in said, said)
        assertTrue(world.count("api.rejected") > 0, "no key was rejected")
        assertEquals(0, world.count("leaks"))
        rest
    }

    @Test
    fun `a program with an HTTP library of its own, and a signature`() = World.start().use { world ->
        val said = program("OwnHttpLibraryKt", world).said()
        assertTrue(said.lines().count { "with k1: {" in it } == 2 && "ks_" !in said, said)
        assertEquals(2, world.count("api.accepted"))
        assertEquals(0, world.count("leaks"))
    }

    @Test
    fun `what the README shows first is the program that runs here`() {
        assertEquals(text("examples/kotlin/LivesThroughARotation.kt"), shown("kotlin").first())
        assertEquals(text("examples/java/LivesThroughARotation.java"), shown("java").first())
    }

    @Test
    fun `what the README shows of other programs is in them`() {
        val ktor = shown("kotlin").filter { "KeySwapAuth" in it || "event ->" in it }
        assertEquals(2, ktor.size)
        for (block in ktor) assertTrue(block.prependIndent("    ").trimEnd() in text("examples/kotlin/WithKtor.kt"), block)
        val own = shown("kotlin").filter { "attempt.step" in it || "Signature(" in it }
        assertEquals(2, own.size)
        for (block in own) assertTrue(block in text("examples/kotlin/OwnHttpLibrary.kt"), block)
    }

    private fun text(path: String): String = File(ROOT, path).readText()

    private fun shown(language: String): List<String> =
        Regex("```$language\n(.*?)```", RegexOption.DOT_MATCHES_ALL).findAll(text("bindings/kotlin/README.md"))
            .map { it.groupValues[1] }.toList()

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
