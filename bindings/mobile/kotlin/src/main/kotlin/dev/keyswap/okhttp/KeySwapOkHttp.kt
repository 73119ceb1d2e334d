package dev.keyswap.okhttp

import dev.keyswap.Answer
import dev.keyswap.Attempt
import dev.keyswap.Classifier
import dev.keyswap.KeySwap
import dev.keyswap.Keyed
import dev.keyswap.Patch
import dev.keyswap.Scheme
import dev.keyswap.calling
import dev.keyswap.internal.NativeFailure
import dev.keyswap.internal.NativeStep
import java.io.IOException
import java.io.InterruptedIOException
import java.net.ConnectException
import java.net.SocketTimeoutException
import java.util.concurrent.TimeUnit
import okhttp3.Call
import okhttp3.HttpUrl
import okhttp3.Interceptor
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response

/**
 * Puts keys on the requests of this client that go to [allowedOrigins], and sends again what a rotation makes an
 * API reject. Without a [scheme], as the set says. Requests to other origins, also after a redirect, carry nothing.
 * A body that [is one-shot][okhttp3.RequestBody.isOneShot] is sent once.
 *
 * Throws `KeySwapException.InvalidConfig` and `KeySwapException.InsecureUrl`.
 */
public fun OkHttpClient.Builder.keyswap(
    keys: KeySwap,
    scheme: Scheme? = null,
    allowedOrigins: List<String>,
    classifier: Classifier? = null,
    plainHttpAllowed: Boolean = false,
): OkHttpClient.Builder {
    val keyed = Keyed(keys, scheme, allowedOrigins, classifier, plainHttpAllowed)
    return addInterceptor(Resending(keyed)).addNetworkInterceptor(Applying(keyed))
}

/** How long a wait goes on before it is seen whether the call was cancelled. */
private const val SLICE_MS = 20uL

/** Around a whole call, with its redirects: what was rejected is sent again. */
private class Resending(private val keyed: Keyed) : Interceptor {
    override fun intercept(chain: Interceptor.Chain): Response {
        val request = chain.request()
        val body = request.body
        val replayable = body == null || !(body.isOneShot() || body.isDuplex())
        val deadline = chain.call().timeout().timeoutNanos().takeIf { it > 0 }?.let(TimeUnit.NANOSECONDS::toMillis)
        val url = request.url.toString()
        val seen = keyed.prepared()
        if (seen != null) {
            val trip = Trip(seen.patch, null)
            val response = chain.proceed(request.with(trip))
            val answer = OkHttpAnswer(response)
            if (!trip.isAtHome || !keyed.attends(answer)) return response
            return closingIfThrown(response) {
                keyed.beginAfter(seen, trip.url.toString(), replayable, deadline).use { attempt ->
                    drive(chain, request, attempt, response, attempt.response(answer))
                }
            }
        }
        // Without a credential, a redirect to an origin that is allowed carries none either.
        if (!keyed.admits(request.url.origin())) return chain.proceed(request)
        return keyed.begin(url, replayable, deadline).use { drive(chain, request, it, null, it.step()) }
    }

    private fun drive(
        chain: Interceptor.Chain,
        request: Request,
        attempt: Attempt,
        first: Response?,
        begun: NativeStep,
    ): Response {
        var response = first
        var step = begun
        try {
            while (true) {
                when (step) {
                    NativeStep.SEND -> {
                        response?.close()
                        response = null
                        val trip = Trip(null, attempt)
                        val sent = send(chain, request.with(trip), attempt)
                        response = sent
                        // What came from a cache, or from elsewhere, says nothing of the credential.
                        step = if (trip.isAtHome) attempt.response(OkHttpAnswer(sent)) else return sent
                    }
                    NativeStep.NEED_BODY -> {
                        val shown = response ?: throw attempt.failure()
                        val beginning = shown.peekBody(attempt.bodyLimit().toLong()).bytes()
                        step = attempt.response(OkHttpAnswer(shown), beginning)
                    }
                    NativeStep.WAIT -> step = await(chain.call(), attempt)
                    NativeStep.FAIL -> throw attempt.failure()
                    NativeStep.RETURN -> return response ?: throw attempt.failure()
                }
            }
        } catch (thrown: Throwable) {
            response?.close()
            throw thrown
        }
    }

    private fun send(chain: Interceptor.Chain, request: Request, attempt: Attempt): Response =
        try {
            chain.proceed(request)
        } catch (thrown: IOException) {
            val failure = when (thrown) {
                is ConnectException -> NativeFailure.CONNECT
                is SocketTimeoutException -> NativeFailure.TIMEOUT
                else -> NativeFailure.OTHER
            }
            calling { attempt.native.failed(failure) }
            throw thrown
        }

    private fun await(call: Call, attempt: Attempt): NativeStep {
        while (true) {
            val step = calling { attempt.native.waitBlocking(SLICE_MS) }
            if (step != NativeStep.WAIT) return step
            if (call.isCanceled()) throw IOException("Canceled")
            if (Thread.interrupted()) {
                Thread.currentThread().interrupt()
                throw InterruptedIOException("interrupted")
            }
        }
    }
}

/** On each hop: what this hop may carry. OkHttp knows nothing of it when it follows a redirect. */
private class Applying(private val keyed: Keyed) : Interceptor {
    override fun intercept(chain: Interceptor.Chain): Response {
        val request = chain.request()
        val trip = request.tag(Trip::class.java) ?: return chain.proceed(request)
        val isAtHome = keyed.admits(request.url.origin())
        trip.arrive(request.url, isAtHome)
        val attempt = trip.attempt
        val patch = when {
            attempt != null -> attempt.apply(request.method, request.url.toString())
            isAtHome -> trip.patch ?: Patch.NOTHING
            else -> Patch.NOTHING
        }
        if (patch.headers.isEmpty()) return chain.proceed(request)
        val patched = request.newBuilder()
        for ((name, value) in patch.headers) patched.header(name, value)
        // A response names its request; this one was never seen with a key.
        return chain.proceed(patched.build()).newBuilder().request(request).build()
    }
}

/** One send of a call, with its redirects: what it carries, and where it came to. */
private class Trip(val patch: Patch?, val attempt: Attempt?) {
    /** Whether the last hop carried a credential to an origin of its own. */
    var isAtHome = false
        private set
    lateinit var url: HttpUrl
        private set

    fun arrive(url: HttpUrl, isAtHome: Boolean) {
        this.url = url
        this.isAtHome = isAtHome
    }
}

private class OkHttpAnswer(private val response: Response) : Answer {
    override val status: Int get() = response.code
    override val headers: List<Pair<String, String>> get() = response.headers.toList()

    override fun header(name: String): String? = response.header(name)
}

private fun Request.with(trip: Trip): Request = newBuilder().tag(Trip::class.java, trip).build()

private fun HttpUrl.origin(): String = "$scheme://${if (':' in host) "[$host]" else host}:$port"

private inline fun closingIfThrown(response: Response, run: () -> Response): Response =
    try {
        run()
    } catch (thrown: Throwable) {
        response.close()
        throw thrown
    }
