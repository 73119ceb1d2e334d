// Requests through Ktor while the provider rotates the key, and what is told of that. Environment: KEYSWAP_SET_URL,
// KEYSWAP_BOOTSTRAP and API_URL.
import dev.keyswap.Event
import dev.keyswap.KeySwap
import dev.keyswap.Scheme
import dev.keyswap.Source
import dev.keyswap.ktor.KeySwapAuth
import io.ktor.client.HttpClient
import io.ktor.client.engine.cio.CIO
import io.ktor.client.request.get
import io.ktor.client.statement.bodyAsText
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

fun main() = runBlocking {
    val api = System.getenv("API_URL")
    val keys = KeySwap.follow(Source.endpoint(System.getenv("KEYSWAP_SET_URL")))
    launch {
        keys.events.collect { event ->
            when (event) {
                is Event.Swapped -> println("${event.to} instead of ${event.from}")
                is Event.FetchFailed -> println("${event.error}; next in ${event.retryIn}")
                else -> println(event)
            }
        }
    }
    val http = HttpClient(CIO) {
        install(KeySwapAuth) {
            this.keys = keys
            scheme = Scheme.header("x-api-key")
            allowedOrigins = listOf(api)
        }
    }

    repeat(100) {
        val price = http.get("$api/v1/price/BTC")
        println("${keys.current.id}: ${price.status.value} ${price.bodyAsText()}")
        delay(50)
    }
    http.close()
    keys.close()
}
