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
import kotlin.time.Duration
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.launch

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
         * Throws [KeySwapException.InvalidConfig] and [KeySwapException.InsecureUrl].
         */
        @JvmStatic
        @JvmOverloads
        public fun endpoint(url: String, configure: Endpoint.() -> Unit = {}): Source {
            val described = Endpoint().apply(configure)
            // What is wrong is told here, and not when it is followed.
            calling { described.make(url) }.destroy()
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
        @JvmStatic
        public fun of(fetch: suspend () -> NewSet): Source = of(mints = false, fetch)

        /**
         * The same. One that [mints] makes a new credential with each call, as one that asks an OAuth2 server
         * does: it is not polled, but called by the life of what it made.
         */
        @JvmStatic
        public fun of(mints: Boolean, fetch: suspend () -> NewSet): Source = ofJson(mints) { fetch().json() }

        /** The same, where the set is JSON already. */
        @JvmStatic
        public fun ofJson(fetch: suspend () -> String): Source = ofJson(mints = false, fetch)

        /** The same, where the set is JSON already, and the function may mint. */
        @JvmStatic
        public fun ofJson(mints: Boolean, fetch: suspend () -> String): Source = Source("function") {
            NativeSource.function(Asking(fetch), mints)
        }
    }
}

/** What there is to say of a rotation endpoint. */
public class Endpoint internal constructor() {
    private var bootstrap: NativeSecret? = null
    private var bootstrapFile: String? = null
    private var bootstrapStorage: SecretStorage? = null
    private var isWithoutBootstrap = false
    private var isPushFollowed = true
    private var rootCertificates: String? = null
    private var rootCertificatesFile: String? = null
    private var clientCertificate: NativeSecret? = null
    private var clientCertificateFile: String? = null
    private var isPlainHttpAllowed = false
    private val regions = mutableListOf<String>()

    /** Of one fetch: ten seconds. */
    public var timeout: Duration? = null

    /** After so much silence, push counts as lost. */
    public var heartbeat: Duration? = null

    /** The provider's public key: answers that it did not sign are refused. */
    public var signedBy: String? = null

    /** The name of the set, where the last part of the URL is not that. An answer for another set is refused. */
    public var setName: String? = null

    /** What the provider's operators see this program as. */
    public var app: String? = null

    /** The credential that the endpoint is asked with. */
    public fun bootstrap(secret: String) {
        bootstrap = NativeSecret(secret)
    }

    /** A file that holds it; it is read again when it is rejected. */
    public fun bootstrapFile(path: String) {
        bootstrapFile = path
    }

    /** The device's place for secrets that holds it; it is read again when it is rejected. */
    public fun bootstrapIn(storage: SecretStorage) {
        bootstrapStorage = storage
    }

    /** The endpoint wants none. */
    public fun noBootstrap() {
        isWithoutBootstrap = true
    }

    /** Does not follow the endpoint's push channel. */
    public fun noPush() {
        isPushFollowed = false
    }

    /** PEM, trusted instead of the machine's. */
    public fun rootCertificates(pem: String) {
        rootCertificates = pem
    }

    /** The same, in a file that is read again when it changes: no restart is needed. */
    public fun rootCertificatesFile(path: String) {
        rootCertificatesFile = path
    }

    /** PEM: a certificate, and its private key. */
    public fun clientCertificate(pem: String) {
        clientCertificate = NativeSecret(pem)
    }

    /** Both, in a file that is read again when it changes: for certificates that an agent renews. */
    public fun clientCertificateFile(path: String) {
        clientCertificateFile = path
    }

    /** Allows plain HTTP to another machine. Everything will be readable on the way. */
    public fun plainHttpAllowed() {
        isPlainHttpAllowed = true
    }

    /** Another endpoint of the same set, asked when those before it fail. */
    public fun region(url: String) {
        regions += url
    }

    internal fun make(url: String): NativeSource = regions.fold(one(url)) { first, region -> first.or(one(region)) }

    private fun one(url: String): NativeSource {
        val options = NativeEndpointOptions(
            url = url,
            bootstrap = bootstrap,
            bootstrapFile = bootstrapFile,
            noBootstrap = isWithoutBootstrap,
            timeout = timeout.inSeconds(),
            push = isPushFollowed,
            heartbeat = heartbeat.inSeconds(),
            signedBy = signedBy,
            setName = setName,
            rootCertificates = rootCertificates,
            rootCertificatesFile = rootCertificatesFile,
            clientCertificate = clientCertificate,
            clientCertificateFile = clientCertificateFile,
            app = app,
            plainHttpAllowed = isPlainHttpAllowed,
        )
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
private val CALLS = CoroutineScope(SupervisorJob() + Dispatchers.Default)

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
