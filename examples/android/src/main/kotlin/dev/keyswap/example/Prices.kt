package dev.keyswap.example

import android.app.Activity
import android.app.Application
import android.net.ConnectivityManager
import android.net.Network
import android.os.Bundle
import android.widget.TextView
import dev.keyswap.KeySwap
import dev.keyswap.Policy
import dev.keyswap.Scheme
import dev.keyswap.Source
import dev.keyswap.android.KeystoreStorage
import dev.keyswap.okhttp.keyswap
import java.io.IOException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import okhttp3.OkHttpClient
import okhttp3.Request

/** What an app holds for as long as it lives: one handle, and one client around it. Tests have servers of their own. */
open class Prices : Application() {
    protected open val setUrl = "https://keys.example.com/keyswap/v1/sets/trading"
    protected open val policy: Policy? = null
    open val apiUrl = "https://api.example.com"

    /** The bootstrap credential: it is saved at sign-in. */
    val bootstrap by lazy { KeystoreStorage(this, "bootstrap") }

    val networks by lazy { getSystemService(CONNECTIVITY_SERVICE) as ConnectivityManager }

    lateinit var keys: KeySwap
        private set
    lateinit var http: OkHttpClient
        private set

    override fun onCreate() {
        super.onCreate()
        val source = Source.endpoint(setUrl) { bootstrapIn(bootstrap) }.whenReachable { networks.activeNetwork != null }
        keys = KeySwap.start(source, policy, name = "trading")
        http = OkHttpClient.Builder()
            .keyswap(keys, Scheme.header("x-api-key"), allowedOrigins = listOf(apiUrl))
            .build()
        networks.registerDefaultNetworkCallback(
            object : ConnectivityManager.NetworkCallback() {
                override fun onAvailable(network: Network) = keys.networkChanged()
            },
        )
    }
}

class PricesActivity : Activity() {
    private val scope: CoroutineScope = MainScope()
    private val app get() = application as Prices

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val view = TextView(this)
        setContentView(view)
        scope.launch { view.text = withContext(Dispatchers.IO) { price() } }
    }

    private fun price(): String = try {
        val request = Request.Builder().url("${app.apiUrl}/v1/price/BTC").build()
        app.http.newCall(request).execute().use { "${it.code}: ${it.body.string()}" }
    } catch (failed: IOException) {
        "no price: ${failed.message}"
    }

    /** A device that slept is looked after at once. */
    override fun onResume() {
        super.onResume()
        app.keys.enteredForeground()
    }

    override fun onPause() {
        app.keys.enteredBackground()
        super.onPause()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }
}
