package dev.keyswap

import dev.keyswap.internal.NativeAnswer
import dev.keyswap.internal.NativeEndpointOptions
import dev.keyswap.internal.NativeForeignException
import dev.keyswap.internal.NativeFunction
import dev.keyswap.internal.NativePending
import dev.keyswap.internal.NativeReachability
import dev.keyswap.internal.NativeSecret
import dev.keyswap.internal.NativeSource
import dev.keyswap.internal.NativeStorage
import java.util.concurrent.Callable
import java.util.function.Consumer
import kotlin.time.Duration
import kotlin.time.toKotlinDuration
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.launch
import kotlinx.coroutines.runInterruptible

/** Where sets come from. */
public class Source private constructor(private val shown: String, internal val make: () -> NativeSource) {
    /** Does not ask this source while the device says that it has no network. */
    public fun whenReachable(device: Reachability): Source = Source(shown) {
        make().reachable(
            object : NativeReachability {
                override fun isReachable(): Boolean = foreign { device.isReachable() }
            },
        )
    }

    override fun toString(): String = "Source($shown)"

    public companion object {
        /**
         * A rotation endpoint, by the URL of its set. Without more, its bootstrap credential is the environment
         * variable `KEYSWAP_BOOTSTRAP`.
         *
         * Throws [IllegalArgumentException] for what is not valid.
         */
        @JvmStatic
        public fun endpoint(url: String): Source = endpoint(url) {}

        /** The same for Java, where there is more to say: `endpoint(url, it -> it.bootstrap(...))`. */
        @JvmStatic
        public fun endpoint(url: String, configure: Consumer<Endpoint>): Source = endpoint(url) { configure.accept(this) }

        /** The same, where there is more to say: `endpoint(url) { bootstrap(...) }`. */
        @JvmSynthetic
        public fun endpoint(url: String, configure: Endpoint.() -> Unit): Source {
            val described = Endpoint().apply(configure)
            // What is wrong is told here, and not when it is followed.
            configuring { described.make(url) }.destroy()
            return Source("endpoint") { described.make(url) }
        }

        /** A file or a folder that something else keeps fresh. */
        @JvmStatic
        public fun file(path: String): Source = Source("file") { NativeSource.file(path) }

        /** A variable of the environment. */
        @JvmStatic
        @JvmOverloads
        public fun env(variable: String, id: String? = null): Source = Source("env") { NativeSource.env(variable, id) }

        /** What a [SecretStorage] holds, which the program keeps fresh: the JSON of a set. */
        @JvmStatic
        public fun storage(storage: SecretStorage): Source =
            Source("storage") { NativeSource.storage(Loading(storage)) }

        /**
         * A function of the program's own, which returns the set as it is now. One that throws, or does not
         * return in time, is a failed fetch, and displaces nothing. It is cancelled when nobody waits for it.
         */
        @JvmSynthetic
        public fun of(fetch: suspend () -> NewSet): Source = of(mints = false, fetch)

        /**
         * The same. One that [mints] makes a new credential with each call, as one that asks an OAuth2 server
         * does: it is not polled, but called by the life of what it made.
         */
        @JvmSynthetic
        public fun of(mints: Boolean, fetch: suspend () -> NewSet): Source = ofJson(mints) { fetch().json() }

        /** The same for Java. It may block, and its thread is interrupted when nobody waits for it. */
        @JvmStatic
        public fun of(fetch: Callable<NewSet>): Source = of(mints = false, fetch)

        /** The same for Java, and it may mint. */
        @JvmStatic
        public fun of(mints: Boolean, fetch: Callable<NewSet>): Source =
            of(mints) { runInterruptible(Dispatchers.IO) { fetch.call() } }

        /** The same, where the set is JSON already. */
        @JvmSynthetic
        public fun ofJson(fetch: suspend () -> String): Source = ofJson(mints = false, fetch)

        /** The same for Java, where the set is JSON already. */
        @JvmStatic
        public fun ofJson(fetch: Callable<String>): Source = ofJson(mints = false, fetch)

        /** The same for Java, where the set is JSON already, and the function may mint. */
        @JvmStatic
        public fun ofJson(mints: Boolean, fetch: Callable<String>): Source =
            ofJson(mints) { runInterruptible(Dispatchers.IO) { fetch.call() } }

        /** The same, where the set is JSON already, and the function may mint. */
        @JvmSynthetic
        public fun ofJson(mints: Boolean, fetch: suspend () -> String): Source = Source("function") {
            NativeSource.function(Asking(fetch), mints)
        }
    }
}

/** What there is to say of a rotation endpoint. */
public class Endpoint internal constructor() {
    private var bootstrapStorage: SecretStorage? = null
    private val regions = mutableListOf<String>()

    // generated: endpoint (by keyswap-generate: do not edit)
    private var bootstrap: NativeSecret? = null

    /**
     * The credential that the endpoint is asked with. Unless it, a file, a function or none is given, it is the
     * environment variable `KEYSWAP_BOOTSTRAP`.
     */
    public fun bootstrap(secret: String) {
        bootstrap = NativeSecret(secret)
    }

    private var bootstrapFile: String? = null

    /** A file that holds the bootstrap credential. It is read at first use, and again once the endpoint rejects it. */
    public fun bootstrapFile(path: String) {
        bootstrapFile = path
    }

    private var noBootstrap = false

    /**
     * That the endpoint is asked without a bootstrap credential: it knows its clients by other means, such as a
     * client certificate.
     */
    public fun noBootstrap() {
        noBootstrap = true
    }

    /** How long one answer may take. By default the policy's `fetchTimeout`, 10 s, which always holds as well. */
    public var timeout: Duration? = null

    /** [timeout], for Java. */
    public fun setTimeout(time: java.time.Duration?) {
        timeout = time?.toKotlinDuration()
    }

    private var push = true

    /** The push channel is not followed, even where the set offers one. Polling never stops. */
    public fun noPush() {
        push = false
    }

    /** How long the push channel may be silent until it counts as lost and is connected anew. 45 s by default. */
    public var heartbeat: Duration? = null

    /** [heartbeat], for Java. */
    public fun setHeartbeat(time: java.time.Duration?) {
        heartbeat = time?.toKotlinDuration()
    }

    /**
     * The provider's public key, the base64 of its 32 bytes (Ed25519). With it, answers that are not signed by it
     * are refused.
     */
    public var signedBy: String? = null

    /** The name of the set, where the last part of the URL is not that. An answer for another set is refused. */
    public var setName: String? = null

    private var rootCertificates: String? = null

    /** Certificates (PEM) that are trusted instead of the machine's. */
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

    /** What the provider's operators see this program as, in reports of the keys in use. */
    public var app: String? = null

    private var plainHttpAllowed = false

    /** Allows plain HTTP to other machines. Everybody on the way can read the keys. */
    public fun plainHttpAllowed() {
        plainHttpAllowed = true
    }
    // end of endpoint

    /** The device's place for secrets that holds the bootstrap credential; it is read again when it is rejected. */
    public fun bootstrapIn(storage: SecretStorage) {
        bootstrapStorage = storage
    }

    /** Another endpoint of the same set, asked when those before it fail. */
    public fun region(url: String) {
        regions += url
    }

    internal fun make(url: String): NativeSource = regions.fold(one(url)) { first, region -> first.or(one(region)) }

    private fun one(url: String): NativeSource {
        // generated: record (by keyswap-generate: do not edit)
        val options = NativeEndpointOptions(
            url = url,
            bootstrap = bootstrap,
            bootstrapFile = bootstrapFile,
            noBootstrap = noBootstrap,
            timeout = timeout.inSeconds(),
            push = push,
            heartbeat = heartbeat.inSeconds(),
            signedBy = signedBy,
            setName = setName,
            rootCertificates = rootCertificates,
            rootCertificatesFile = rootCertificatesFile,
            clientCertificate = clientCertificate,
            clientCertificateFile = clientCertificateFile,
            app = app,
            plainHttpAllowed = plainHttpAllowed,
        )
        // end of record
        return NativeSource.endpoint(options, bootstrapStorage?.let(::Loading))
    }
}

/** The device's own place for secrets. */
public fun interface SecretStorage {
    /** What is stored; null if nothing is. It may block. */
    public fun load(): String?
}

/** Whether the device has a network. */
public fun interface Reachability {
    /** It must answer at once. If it throws, the source is asked. */
    public fun isReachable(): Boolean
}

/** Where the functions of programs run. */
internal val CALLS = CoroutineScope(SupervisorJob() + Dispatchers.Default)

private class Asking(private val fetch: suspend () -> String) : NativeFunction {
    override fun begin(answer: NativeAnswer): NativePending {
        val call = CALLS.launch {
            val returned = runCatching { foreign { NativeSecret(fetch()) } }
            answer.settle(returned.getOrNull(), (returned.exceptionOrNull() as? NativeForeignException.Failed)?.reason)
        }
        call.invokeOnCompletion { answer.destroy() }
        return Cancelling(call)
    }
}

private class Cancelling(private val call: Job) : NativePending {
    override fun cancel() = call.cancel()
}

private class Loading(private val storage: SecretStorage) : NativeStorage {
    override fun load(): NativeSecret? = foreign { storage.load()?.let(::NativeSecret) }
}

/** Runs the program's own code. What it throws is told by its class: its words may quote a secret. */
internal inline fun <T> foreign(run: () -> T): T =
    try {
        run()
    } catch (thrown: Throwable) {
        throw NativeForeignException.Failed("threw ${thrown.javaClass.simpleName}")
    }
