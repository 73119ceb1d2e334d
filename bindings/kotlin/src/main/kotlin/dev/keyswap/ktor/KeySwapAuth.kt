package dev.keyswap.ktor

import dev.keyswap.Authorizer
import dev.keyswap.Classifier
import dev.keyswap.KeySwap
import dev.keyswap.KeySwapException
import dev.keyswap.Scheme
import io.ktor.client.plugins.HttpRedirect
import io.ktor.client.plugins.api.ClientPlugin
import io.ktor.client.plugins.api.Send
import io.ktor.client.plugins.api.createClientPlugin
import io.ktor.client.plugins.pluginOrNull
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.util.AttributeKey

/** What [KeySwapAuth] is made of. */
public class KeySwapAuthConfig {
    /** Whose keys. */
    public var keys: KeySwap? = null

    /** How credentials go onto requests; without it, as the set says. */
    public var scheme: Scheme? = null

    /** The origins that credentials may be sent to, and nowhere else. Requests to other origins go without. */
    public var allowedOrigins: List<String> = emptyList()

    /**
     * Which responses the program's own classifier judges; nothing if it has none, and then 401 means that the
     * credential is rejected.
     */
    public var classifier: Classifier? = null

    /** Allows plain HTTP to other machines. Everybody on the way can read the keys. */
    public var plainHttpAllowed: Boolean = false

    /**
     * A request that sets the header of the scheme itself goes as it is, and what the API says of it is no evidence
     * about the credential. By default such a request is an error.
     */
    public var ownHeaderWins: Boolean = false
}

/**
 * Puts keys on the requests of this client, hop by hop, and sends again what a rotation makes an API reject:
 * `HttpClient(CIO) { install(KeySwapAuth) { keys = ...; allowedOrigins = listOf("https://api.example.com") } }`.
 *
 * A body that is a stream is sent once, and so is a request whose [resend] is false. Where a classifier asks for a
 * body, that is read whole. The key is put on what goes to the engine: other plugins, logs and responses do not have it.
 *
 * Plain HTTP on this machine goes through no proxy: where the engine or the JVM has one for it, the request fails with
 * `KeySwapException.InsecureUrl`, as it does where `localhost` is another machine. A proxy in an engine's own settings,
 * like those of an `OkHttpClient` that it was given, cannot be seen.
 */
public val KeySwapAuth: ClientPlugin<KeySwapAuthConfig> =
    createClientPlugin("KeySwapAuth", ::KeySwapAuthConfig) {
        val config = pluginConfig
        val keys = requireNotNull(config.keys) { "KeySwapAuth needs keys" }
        val authorizer = with(config) { Authorizer(keys, scheme, allowedOrigins, classifier, plainHttpAllowed, ownHeaderWins) }
        val isWithinRedirects = client.pluginOrNull(HttpRedirect) != null
        client.putKeysOnTheWire()
        // Inside of the plugin that follows redirects, which sends each hop on its own.
        on(Send) { request ->
            if (!isWithinRedirects && client.pluginOrNull(HttpRedirect) != null) {
                throw KeySwapException.of("invalid_config", "install HttpRedirect before KeySwapAuth, which has to see each hop")
            }
            Hop(authorizer, client, request) { proceed(it) }.send()
        }
    }

/** Whether this request may be sent again with another key; if not, the API's answer is returned. */
public var HttpRequestBuilder.resend: Boolean
    get() = ONCE !in attributes
    set(resend) = if (resend) attributes.remove(ONCE) else attributes.put(ONCE, Unit)

/** What the keys of this request must be good for: without all of these scopes nothing is sent. */
public var HttpRequestBuilder.scopes: List<String>
    get() = attributes.getOrNull(SCOPES).orEmpty()
    set(scopes) = attributes.put(SCOPES, scopes)

private val ONCE = AttributeKey<Unit>("KeySwapOnce")
private val SCOPES = AttributeKey<List<String>>("KeySwapScopes")
