// An HTTP library of the program's own, which an attempt drives; and a signature of each request. Environment:
// KEYSWAP_SET_URL, KEYSWAP_BOOTSTRAP and API_URL.
import dev.keyswap.Authorizer
import dev.keyswap.KeySwap
import dev.keyswap.Scheme
import dev.keyswap.Signature
import dev.keyswap.Source
import dev.keyswap.Step
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.net.http.HttpResponse.BodyHandlers
import java.util.Base64
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec
import kotlinx.coroutines.future.await
import kotlinx.coroutines.runBlocking

// It must follow no redirect by itself.
private val library = HttpClient.newHttpClient()

/** One request, through any rotation. */
suspend fun get(authorizer: Authorizer, url: String): HttpResponse<String> = authorizer.begin(url).use { attempt ->
    var response: HttpResponse<String>? = null
    while (attempt.step != Step.RETURN) when (attempt.step) {
        Step.SEND -> {
            val patch = attempt.apply("GET", url)
            val request = HttpRequest.newBuilder(URI(patch.revealUrl(url)))
            patch.reveal().forEach(request::setHeader)
            val sent = library.sendAsync(request.build(), BodyHandlers.ofString()).await()
            attempt.response(sent.statusCode(), sent.headers().map())
            response = sent
        }
        Step.WAIT -> attempt.await()
        // Nothing but a classifier asks for the body.
        else -> throw attempt.error!!
    }
    response!!
}

/** An API that wants signatures would be asked so; this one wants the key as well. */
val signed = Scheme.signing { credential, request ->
    val mac = Mac.getInstance("HmacSHA256").apply { init(SecretKeySpec(credential.reveal().toByteArray(), "HmacSHA256")) }
    val time = request.now.toEpochMilli().toString()
    val text = "${request.method} ${URI(request.url).path} $time"
    val signature = Base64.getEncoder().encodeToString(mac.doFinal(text.toByteArray()))
    Signature(headers = mapOf("x-api-key" to credential.reveal(), "x-time" to time, "x-signature" to signature))
}

fun main() = runBlocking {
    val api = System.getenv("API_URL")
    KeySwap.follow(Source.endpoint(System.getenv("KEYSWAP_SET_URL"))).use { keys ->
        for (scheme in listOf(Scheme.header("x-api-key"), signed)) {
            val authorizer = Authorizer(keys, scheme, allowedOrigins = listOf(api))
            println("with ${keys.current.id}: ${get(authorizer, "$api/v1/price/BTC").body()}")
        }
    }
}
