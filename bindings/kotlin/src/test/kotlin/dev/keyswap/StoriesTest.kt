package dev.keyswap

import java.util.concurrent.Executors
import java.util.concurrent.Future
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** Every story of `tests/scenarios`, with the counts that every language must come to. */
class StoriesTest {
    @TestFactory
    fun okhttp(): List<DynamicTest> = through("kotlin")

    @TestFactory
    fun ktor(): List<DynamicTest> = through("kotlin-ktor")

    @Test
    fun `only a machine that was late excuses a story`() {
        Heartbeat().use { heartbeat ->
            val began = System.nanoTime()
            while (System.nanoTime() - began < 50_000_000) Thread.onSpinWait()
            assertTrue(heartbeat.worstMs() < 5_000, "a gap that was not there")
        }
        assertFalse(Played("it broke", 100).mayBeRepeated)
        assertFalse(Played("", 10_000).mayBeRepeated)
        assertEquals(System.getenv("KEYSWAP_NO_REPLAY") != "1", Played("it broke", 101).mayBeRepeated)
    }

    /** A few at once: most of a story is waiting, but its times must be kept. */
    private fun through(way: String): List<DynamicTest> {
        val leftOut = notRun(way)
        val only = System.getProperty("story")
        val names = storyNames().filter { it !in leftOut && (only == null || it in only.split(',')) }
        val pool = Executors.newFixedThreadPool(AT_ONCE)
        val played = names.associateWith { name -> pool.submit<Played> { play(way, name) } }
        pool.shutdown()
        return played.map { (name, among) -> DynamicTest.dynamicTest("$way: $name") { verify(way, name, among) } }
    }

    private fun verify(way: String, name: String, among: Future<Played>) {
        var played = among.get()
        var replays = 0
        while (played.mayBeRepeated && replays++ < MOST_REPLAYS) {
            println("$way $name, ${played.lateMs} ms late: ${played.complaint}")
            played.note(way, name)
            played = play(way, name)
        }
        assertEquals("", played.complaint, "$way $name, the machine was ${played.lateMs} ms late")
    }

    private fun play(way: String, name: String): Played = World.start().use { world ->
        val told = world.control("story", readStory(name))
        Heartbeat().use { heartbeat ->
            val play = Play(world, way, told)
            val complaint = runBlocking(Dispatchers.IO) { play.complaint() }
            Played(complaint, maxOf(heartbeat.worstMs(), play.startedMs))
        }
    }

    private companion object {
        const val AT_ONCE = 4

        /** Of one story, each for a reason that was measured. */
        const val MOST_REPLAYS = 2
    }
}
