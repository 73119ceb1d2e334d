package dev.keyswap.android

import android.os.Looper
import android.view.ViewGroup
import android.widget.TextView
import dev.keyswap.KeySwapException
import dev.keyswap.World
import dev.keyswap.example.Prices
import dev.keyswap.example.PricesActivity
import dev.keyswap.fast
import java.util.concurrent.TimeUnit
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config

/** The app of the examples, against an endpoint and an API of the test's. */
class TestPrices : Prices() {
    override val setUrl get() = world.setUrl
    override val policy get() = fast()
    override val apiUrl get() = world.apiUrl

    override fun onCreate() {
        TestKeystore.install()
        world = World.start()
        bootstrap.save(world.bootstrap)
        super.onCreate()
    }

    companion object {
        lateinit var world: World
    }
}

@RunWith(RobolectricTestRunner::class)
@Config(application = TestPrices::class)
class PricesTest {
    private val app get() = RuntimeEnvironment.getApplication() as TestPrices
    private val world get() = TestPrices.world

    @After
    fun end() {
        app.keys.close()
        world.close()
    }

    @Test
    fun `the app lives through a rotation`() {
        assertTrue(shown(), shown().startsWith("200: "))
        assertEquals("k1", app.keys.current.id)
        world.step("cut")
        assertTrue(shown(), shown().startsWith("200: "))
        assertEquals("k2", app.keys.current.id)
        assertEquals(0, world.count("leaks"))
    }

    @Test
    fun `nothing is fetched without a network, and a new one is told to the handle`() {
        shown()
        val networks = shadowOf(app.networks).apply { setDefaultNetworkActive(false) }
        world.step("rotate")
        val offline = assertThrows(KeySwapException::class.java) { runBlocking { app.keys.refresh(5.seconds) } }
        assertEquals("unavailable", offline.code)
        assertEquals("k1", app.keys.credentials!!.primary!!.id)
        networks.setDefaultNetworkActive(true)
        networks.networkCallbacks.single().onAvailable(app.networks.activeNetwork!!)
        until("the new network brings the new set") { app.keys.credentials!!.primary!!.id == "k2" }
    }

    /** What the activity shows, from when it is made until it is left. */
    private fun shown(): String = Robolectric.buildActivity(PricesActivity::class.java).use { controller ->
        val activity = controller.setup().get()
        val view = activity.findViewById<ViewGroup>(android.R.id.content)!!.getChildAt(0) as TextView
        until("the price is shown") { view.text.isNotEmpty() }
        controller.pause()
        view.text.toString()
    }

    private fun until(what: String, isSo: () -> Boolean) {
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20)
        while (!isSo()) {
            check(System.nanoTime() < end) { what }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(10)
        }
    }
}
