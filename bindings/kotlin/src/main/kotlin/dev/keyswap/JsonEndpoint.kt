package dev.keyswap

import dev.keyswap.internal.NativeJsonOptions
import dev.keyswap.internal.NativeSecret
import dev.keyswap.internal.NativeSource
import kotlin.time.Duration
import kotlin.time.toKotlinDuration

/** What there is to say of an endpoint that answers with JSON. */
public class JsonEndpoint internal constructor() {
    private var bootstrapStorage: SecretStorage? = null
    private val regions = mutableListOf<String>()

    // generated: json (by keyswap-generate: do not edit)
    /** A JSON pointer (RFC 6901) to the key in the answer, such as `/data/api_key`. By default `/key`. */
    public var key: String? = null

    /** A JSON pointer to the second piece of material, named `secret`. */
    public var secret: String? = null

    /** A JSON pointer to the third piece of material, named `passphrase`. */
    public var passphrase: String? = null

    /**
     * A JSON pointer to the credential's name: a text or a number that changes whenever the key does. By default it
     * is named by a digest that says only whether it changed.
     */
    public var id: String? = null

    /** A JSON pointer to the provider's version of the credential. */
    public var version: String? = null

    /** A JSON pointer to the time at which the credential ends: RFC 3339 text, or seconds since 1970. */
    public var expiresAt: String? = null

    /**
     * A JSON pointer to the seconds that the credential lives from the answer on. By default `/expires_in`, if that
     * is there.
     */
    public var expiresIn: String? = null

    /**
     * A JSON pointer to the object that all others begin at, but for `previous` and `generation`. By default the
     * whole answer.
     */
    public var within: String? = null

    /**
     * A JSON pointer to the credential before, as long as it works: an object that looks like the current one, a
     * list of at most two of them, or the key itself. It may be absent; then the last key that the API accepted
     * stays as the fallback.
     */
    public var previous: String? = null

    /** A JSON pointer to a number that rises with each change. Without it, changes are numbered here. */
    public var generation: String? = null

    private var mints = false

    /**
     * That each answer is a new key, made for this question: it is then asked by the life of what it made, and not
     * polled.
     */
    public fun mints() {
        mints = true
    }

    /** The method of the question. By default GET, or POST if there is a body. */
    public var method: String? = null

    private val headers = mutableMapOf<String, NativeSecret>()

    /** Headers of the question, which are never printed. */
    public fun header(name: String, value: String) {
        headers[name] = NativeSecret(value)
    }

    private var body: NativeSecret? = null

    /**
     * What is sent with the question: JSON if it begins with a brace or a bracket, and a form if not, unless a
     * header says otherwise.
     */
    public fun body(secret: String) {
        body = NativeSecret(secret)
    }

    private var bootstrap: NativeSecret? = null

    /**
     * The credential that the endpoint is asked with, as a bearer token unless `bootstrapHeader` or
     * `bootstrapBasic` says otherwise. By default there is none.
     */
    public fun bootstrap(secret: String) {
        bootstrap = NativeSecret(secret)
    }

    private var bootstrapFile: String? = null

    /** A file that holds the bootstrap credential. It is read at first use, and again once the endpoint rejects it. */
    public fun bootstrapFile(path: String) {
        bootstrapFile = path
    }

    /** The header whose value the bootstrap credential is. */
    public var bootstrapHeader: String? = null

    private var bootstrapBasic = false

    /** That the bootstrap credential is a user and a password, with a colon between them: `Authorization: Basic`. */
    public fun bootstrapBasic() {
        bootstrapBasic = true
    }

    /** How long an answer may take. By default the policy's `fetchTimeout`, 10 s, which always holds as well. */
    public var timeout: Duration? = null

    /** [timeout], for Java. */
    public fun setTimeout(time: java.time.Duration?) {
        timeout = time?.toKotlinDuration()
    }

    private var rootCertificates: String? = null

    /** PEM certificates that are trusted instead of the machine's. */
    public fun rootCertificates(pem: String) {
        rootCertificates = pem
    }

    private var rootCertificatesFile: String? = null

    /** A file that holds the trusted certificates. It is read again when it changes. */
    public fun rootCertificatesFile(path: String) {
        rootCertificatesFile = path
    }

    private var clientCertificate: NativeSecret? = null

    /** A certificate chain and its private key (PEM), shown to the endpoint: mutual TLS. */
    public fun clientCertificate(pem: String) {
        clientCertificate = NativeSecret(pem)
    }

    private var clientCertificateFile: String? = null

    /**
     * A file that holds the client certificate and its key. It is read again when it changes, so certificates are
     * renewed without a restart.
     */
    public fun clientCertificateFile(path: String) {
        clientCertificateFile = path
    }

    private var plainHttpAllowed = false

    /** Allows plain HTTP to other machines. Everybody on the way can read the keys. */
    public fun plainHttpAllowed() {
        plainHttpAllowed = true
    }
    // end of json

    /** The device's place for secrets that holds the bootstrap credential; it is read again when it is rejected. */
    public fun bootstrapIn(storage: SecretStorage) {
        bootstrapStorage = storage
    }

    /** Another endpoint of the same keys, asked when those before it fail. */
    public fun region(url: String) {
        regions += url
    }

    internal fun make(url: String): NativeSource = regions.fold(one(url)) { first, region -> first.or(one(region)) }

    private fun one(url: String): NativeSource {
        // generated: record (by keyswap-generate: do not edit)
        val options = NativeJsonOptions(
            url = url,
            key = key,
            secret = secret,
            passphrase = passphrase,
            id = id,
            version = version,
            expiresAt = expiresAt,
            expiresIn = expiresIn,
            within = within,
            previous = previous,
            generation = generation,
            mints = mints,
            method = method,
            headers = headers,
            body = body,
            bootstrap = bootstrap,
            bootstrapFile = bootstrapFile,
            bootstrapHeader = bootstrapHeader,
            bootstrapBasic = bootstrapBasic,
            timeout = timeout.inSeconds(),
            rootCertificates = rootCertificates,
            rootCertificatesFile = rootCertificatesFile,
            clientCertificate = clientCertificate,
            clientCertificateFile = clientCertificateFile,
            plainHttpAllowed = plainHttpAllowed,
        )
        // end of record
        return NativeSource.json(options, bootstrapStorage?.let(::Loading))
    }
}
