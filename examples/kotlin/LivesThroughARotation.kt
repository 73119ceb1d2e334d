// Requests through OkHttp, and through Ktor, while the provider rotates the key. Environment: KEYSWAP_SET_URL,
// KEYSWAP_BOOTSTRAP and API_URL.
import dev.keyswap.KeySwap
import dev.keyswap.Scheme
import dev.keyswap.Source
import dev.keyswap.ktor.KeySwapAuth
import dev.keyswap.okhttp.keyswap
import io.ktor.client.HttpClient
import io.ktor.client.engine.cio.CIO
import io.ktor.client.request.get
import io.ktor.client.statement.bodyAsText
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import okhttp3.OkHttpClient
import okhttp3.Request

fun main() = runBlocking {
    val api = System.getenv("API_URL")
    val keys = KeySwap.follow(Source.endpoint(System.getenv("KEYSWAP_SET_URL")))
    launch { keys.events.collect { println(it) } }

    val http = OkHttpClient.Builder().keyswap(keys, Scheme.header("x-api-key"), allowedOrigins = listOf(api)).build()
    val ktor = HttpClient(CIO) {
        install(KeySwapAuth) {
            this.keys = keys
            scheme = Scheme.header("x-api-key")
            allowedOrigins = listOf(api)
        }
    }
    val began = keys.current.id
    while (keys.current.id == began) {
        http.newCall(Request.Builder().url("$api/v1/price/BTC").build()).execute().use { check(it.isSuccessful) }
        check(ktor.get("$api/v1/price/BTC").status.value == 200)
        delay(20)
    }
    println("from $began to ${keys.current.id}: ${ktor.get("$api/v1/price/BTC").bodyAsText()}")
    ktor.close()
    keys.close()
}
