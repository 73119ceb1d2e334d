@file:JvmName("KeySwapOkHttp")

package dev.keyswap.okhttp

import dev.keyswap.Authorizer
import dev.keyswap.Classifier
import dev.keyswap.KeySwap
import dev.keyswap.KeySwapException
import dev.keyswap.Scheme
import dev.keyswap.internal.constants
import java.io.IOException
import java.net.ProtocolException
import okhttp3.CompressionInterceptor
import okhttp3.HttpUrl
import okhttp3.Interceptor
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response
import okhttp3.ResponseBody.Companion.toResponseBody

/**
 * Puts keys on the requests of this client that go to [allowedOrigins], and sends again what a rotation makes an
 * API reject. Without a [scheme], as the set says. Requests to other origins, also after a redirect, carry nothing.
 * Redirects are followed by the rules of every client of this library. A body that
 * [is one-shot][okhttp3.RequestBody.isOneShot] is sent once, and so is a request that says [`resend(false)`][resend].
 *
 * Call it last: redirects are followed here from then on, as the builder says at that moment and ten at most, since
 * OkHttp would repeat what an earlier hop answered already.
 *
 * Plain HTTP on this machine goes through no proxy, and `localhost` is a loopback address whatever a resolver says.
 *
 * What unpacks bodies, a [CompressionInterceptor], is moved behind it where there is a [classifier], which sees them then
 * as the program does.
 *
 * Throws [IllegalArgumentException] for an origin or a scheme that is not valid.
 *
 * @param keys Whose credentials.
 * @param scheme How credentials go onto requests; without it, as the set says.
 * @param allowedOrigins The origins that credentials may be sent to, and nowhere else. Requests to other origins
 *   go without.
 * @param classifier Which responses the program's own classifier judges; nothing if it has none, and then 401
 *   means that the credential is rejected.
 * @param plainHttpAllowed Allows plain HTTP to other machines. Everybody on the way can read the keys.
 * @param ownHeaderWins A request that sets the header of the scheme itself goes as it is, and what the API says of
 *   it is no evidence about the credential. By default such a request is an error.
 */
@JvmOverloads
public fun OkHttpClient.Builder.keyswap(
    keys: KeySwap,
    scheme: Scheme? = null,
    allowedOrigins: List<String>,
    classifier: Classifier? = null,
    plainHttpAllowed: Boolean = false,
    ownHeaderWins: Boolean = false,
): OkHttpClient.Builder {
    val authorizer = Authorizer(keys, scheme, allowedOrigins, classifier, plainHttpAllowed, ownHeaderWins)
    val isFollowing = build().followRedirects
    val unpacking = if (classifier == null) emptyList() else interceptors().filterIsInstance<CompressionInterceptor>()
    interceptors().removeAll(unpacking)
    interceptors() += Following(authorizer, isFollowing)
    interceptors() += unpacking
    return followRedirects(false).addNetworkInterceptor(Applying)
}

/** Whether this request may be sent again with another key; if not, the API's answer is returned. */
public fun Request.Builder.resend(resend: Boolean): Request.Builder =
    tag(Once::class.java, if (resend) null else Once)

/** What the keys of this request must be good for: without all of these scopes nothing is sent. */
public fun Request.Builder.scopes(vararg scopes: String): Request.Builder =
    tag(Scopes::class.java, if (scopes.isEmpty()) null else Scopes(scopes.toList()))

/** The tag of a request that is sent once. */
internal object Once

/** The tag of a request that needs scopes. */
internal class Scopes(val names: List<String>)

/** The most redirects that a call follows. */
private val MOST_REDIRECTS = constants().maxRedirects.toInt()

/** Around a whole call: each hop is a request of its own, with an attempt of its own. */
private class Following(private val authorizer: Authorizer, private val isFollowing: Boolean) : Interceptor {
    override fun intercept(chain: Interceptor.Chain): Response {
        if (chain.followRedirects) {
            val what = "keyswap() follows redirects: call it after followRedirects(), as the last of the builder"
            throw KeySwapException.of("invalid_config", what)
        }
        val began = System.nanoTime()
        var request = chain.request()
        var prior: Response? = null
        var redirects = 0
        var isKeyed = true
        while (true) {
            val hop = Hop(authorizer, chain, request, began)
            // An origin that is not allowed has no say in what keys are used for, not even by a redirect.
            isKeyed = isKeyed && hop.isAtHome
            val response = (if (isKeyed) hop.send() else chain.proceed(request)).after(prior)
            val next = (if (isFollowing) hop.next(response) else null) ?: return response
            if (next.url.isHttps != request.url.isHttps && !chain.followSslRedirects) return response
            response.close()
            if (++redirects > MOST_REDIRECTS) throw ProtocolException("Too many follow-up requests: $redirects")
            if (chain.call().isCanceled()) throw IOException("Canceled")
            prior = response
            request = next
        }
    }
}

/** This response as that of a later hop, behind what came before it on its own. */
private fun Response.after(prior: Response?): Response {
    if (prior == null) return this
    val behind = priorResponse?.after(prior) ?: prior.newBuilder().body("".toResponseBody(prior.body.contentType())).build()
    return newBuilder().priorResponse(behind).build()
}

internal fun HttpUrl.origin(): String = "$scheme://${if (':' in host) "[$host]" else host}:$port"
