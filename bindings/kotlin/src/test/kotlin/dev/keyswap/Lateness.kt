package dev.keyswap

import com.google.gson.JsonObject
import java.io.File
import kotlin.concurrent.thread

/** What a story bears: see tests/scenarios/README.md. */
private const val TOLERANCE_MS = 100L

/** A tenth of what matters. */
private const val BEAT_MS = 10L

/**
 * How late this machine was while something ran, measured and not guessed: a thread that wants to wake every few
 * milliseconds wakes later when the machine, or this JVM, has no time for it.
 */
class Heartbeat : AutoCloseable {
    @Volatile private var isOver = false

    @Volatile private var worst = 0L

    @Volatile private var last = System.nanoTime()
    private val beating = thread(name = "heartbeat", isDaemon = true) {
        while (!isOver) {
            Thread.sleep(BEAT_MS)
            worst = worstMs()
            last = System.nanoTime()
        }
    }

    /** The longest gap so far, with the one that has not ended. */
    fun worstMs(): Long = maxOf(worst, (System.nanoTime() - last) / 1_000_000 - BEAT_MS)

    override fun close() {
        isOver = true
        beating.join()
    }
}

/** A play of a story: what did not come out, and how late the machine was meanwhile. */
class Played(val complaint: String, val lateMs: Long) {
    /** Whether it may be played again: only the machine is an excuse. */
    val mayBeRepeated: Boolean
        get() = complaint.isNotEmpty() && lateMs > TOLERANCE_MS && System.getenv("KEYSWAP_NO_REPLAY") != "1"

    /** Adds a replay to the list that the tests of all languages write. */
    fun note(through: String, story: String) {
        val line = JsonObject()
        line.addProperty("through", through)
        line.addProperty("story", story)
        line.addProperty("late_ms", lateMs)
        line.addProperty("complaint", complaint)
        val folder = File(System.getenv("CARGO_TARGET_DIR")?.let(::File) ?: File(ROOT, "target"), "tests")
        folder.mkdirs()
        File(folder, "replayed.jsonl").appendText("$line\n")
    }
}
