package dev.keyswap.android

import android.app.Application
import dev.keyswap.KeySwap
import dev.keyswap.Source
import dev.keyswap.World
import java.io.File
import java.security.InvalidKeyException
import java.security.ProviderException
import java.security.UnrecoverableKeyException
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

@RunWith(RobolectricTestRunner::class)
@Config(application = Application::class)
class KeystoreStorageTest {
    private val context get() = RuntimeEnvironment.getApplication()
    private val stored get() = KeystoreStorage(context, "bootstrap")
    private val file get() = File(context.noBackupFilesDir, "bootstrap.sealed")

    @Before
    fun keystore() = TestKeystore.install()

    @Test
    fun `what was saved last is loaded, by whoever asks`() {
        assertNull(stored.load())
        assertEquals("nothing was stored, so no key is needed", 0, TestKeystore.held.size)
        stored.save("first")
        stored.save("sécond")
        assertEquals("sécond", stored.load())
        assertNull("another name is another secret", KeystoreStorage(context, "other").load())
        assertFalse("it is sealed", "cond" in file.readText(Charsets.ISO_8859_1))
        assertEquals("one key is enough", setOf("dev.keyswap.bootstrap"), TestKeystore.held.keys)
    }

    @Test
    fun `a save that was interrupted leaves what was there`() {
        stored.save("whole")
        val fresh = File("${file.path}.new")
        fresh.writeBytes(file.readBytes().copyOf(20))
        assertEquals("whole", stored.load())
        stored.save("next")
        assertEquals("next", stored.load())
    }

    @Test
    fun `half a file is nothing stored, whatever its length`() {
        stored.save("whole")
        val whole = file.readBytes()
        for (length in whole.indices) {
            file.writeBytes(whole.copyOf(length))
            assertNull("$length bytes", stored.load())
        }
        stored.save("next")
        assertEquals("next", stored.load())
    }

    @Test
    fun `a key that was lost is nothing stored, and the next save makes another`() {
        stored.save("before")
        TestKeystore.held.clear()
        assertNull(stored.load())
        assertEquals("loading makes no key", 0, TestKeystore.held.size)
        stored.save("after")
        assertEquals("after", stored.load())
    }

    @Test
    fun `a key that cannot be used any more is a lost one`() {
        for (lost in listOf(UnrecoverableKeyException(), InvalidKeyException())) {
            stored.save("before")
            TestKeystore.failure = lost
            assertNull("$lost", stored.load())
            stored.save("after")
            assertEquals("after", stored.load())
        }
    }

    @Test
    fun `a keystore that does not answer is not a lost key`() {
        stored.save("kept")
        TestKeystore.failure = ProviderException("busy")
        assertThrows(ProviderException::class.java) { stored.load() }
        assertThrows(ProviderException::class.java) { stored.save("never") }
        TestKeystore.failure = null
        assertEquals("kept", stored.load())
    }

    @Test
    fun `an endpoint is asked with what is stored`() = World.start().use { world ->
        stored.save(world.bootstrap)
        val source = Source.endpoint(world.setUrl) { bootstrapIn(stored) }
        runBlocking { KeySwap.follow(source, timeout = 10.seconds) }.use { assertEquals("k1", it.current.id) }
    }
}
