package dev.keyswap

import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.Executors
import java.util.concurrent.Future
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory

/** Every story of `tests/scenarios`, with the counts that every language must come to. */
class StoriesTest {
    @TestFactory
    fun okhttp(): List<DynamicTest> = through("kotlin")

    @TestFactory
    fun ktor(): List<DynamicTest> = through("kotlin-ktor")

    /** A few at once: most of a story is waiting, but its times must be kept. */
    private fun through(way: String): List<DynamicTest> {
        val leftOut = notRun(way)
        val only = System.getProperty("story")
        val names = storyNames().filter { it !in leftOut && (only == null || it in only.split(',')) }
        val pool = Executors.newFixedThreadPool(AT_ONCE)
        val played = names.associateWith { name -> pool.submit<String> { complaint(way, name) } }
        pool.shutdown()
        val onlyAlone = CopyOnWriteArrayList<String>()
        return played.map { (name, among) -> DynamicTest.dynamicTest("$way: $name") { verify(way, name, among, onlyAlone) } }
    }

    private fun verify(way: String, name: String, among: Future<String>, onlyAlone: MutableList<String>) {
        val complaint = among.get()
        if (complaint.isEmpty()) return
        // The machine may have been late. A rule that is broken is broken in quiet, too.
        println("$way $name among others: $complaint")
        onlyAlone += name
        assertTrue(onlyAlone.size <= MOST_ALONE, "too many come out only alone: $onlyAlone; $name: $complaint")
        assertEquals("", complaint(way, name))
    }

    private fun complaint(way: String, name: String): String = World.start().use { world ->
        val told = world.control("story", readStory(name))
        runBlocking(Dispatchers.IO) { Play(world, way, told).complaint() }
    }

    private companion object {
        const val AT_ONCE = 4

        /** Of some 80: how many may be late among others, on a machine that has other work. */
        const val MOST_ALONE = 4
    }
}
