import dev.keyswap.KeySwap
import dev.keyswap.Scheme
import dev.keyswap.Source
import dev.keyswap.okhttp.keyswap
import kotlinx.coroutines.delay
import okhttp3.OkHttpClient
import okhttp3.Request

suspend fun main() {
    val api = System.getenv("API_URL")
    val keys = KeySwap.follow(Source.endpoint(System.getenv("KEYSWAP_SET_URL")))
    val http = OkHttpClient.Builder()
        .keyswap(keys, Scheme.header("x-api-key"), allowedOrigins = listOf(api))
        .build()

    val price = Request.Builder().url("$api/v1/price/BTC").build()
    repeat(100) {
        http.newCall(price).execute().use { println("${keys.current.id}: ${it.code} ${it.body.string()}") }
        delay(50)
    }
    keys.close()
}
