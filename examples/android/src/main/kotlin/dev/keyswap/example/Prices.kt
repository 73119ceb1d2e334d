package dev.keyswap.example

import android.app.Activity
import android.app.Application
import android.os.Bundle
import android.widget.TextView
import dev.keyswap.KeySwap
import dev.keyswap.Scheme
import dev.keyswap.Source
import dev.keyswap.android.KeystoreStorage
import dev.keyswap.okhttp.keyswap
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import okhttp3.OkHttpClient
import okhttp3.Request

/** What an app holds for as long as it lives: one handle, and one client around it. */
class Prices : Application() {
    lateinit var keys: KeySwap
        private set
    lateinit var http: OkHttpClient
        private set

    override fun onCreate() {
        super.onCreate()
        val stored = KeystoreStorage(this, "bootstrap")
        val source = Source.endpoint("https://keys.example.com/keyswap/v1/sets/trading") { bootstrapIn(stored) }
        keys = KeySwap.start(source, name = "trading")
        http = OkHttpClient.Builder()
            .keyswap(keys, Scheme.header("x-api-key"), allowedOrigins = listOf("https://api.example.com"))
            .build()
    }
}

class PricesActivity : Activity() {
    private val scope: CoroutineScope = MainScope()

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val view = TextView(this)
        setContentView(view)
        val request = Request.Builder().url("https://api.example.com/v1/price/BTC").build()
        scope.launch {
            view.text = withContext(Dispatchers.IO) {
                (application as Prices).http.newCall(request).execute().use { "${it.code}: ${it.body.string()}" }
            }
        }
    }

    /** A device that slept is looked after at once. */
    override fun onResume() {
        super.onResume()
        (application as Prices).keys.enteredForeground()
    }

    override fun onPause() {
        (application as Prices).keys.enteredBackground()
        super.onPause()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }
}
