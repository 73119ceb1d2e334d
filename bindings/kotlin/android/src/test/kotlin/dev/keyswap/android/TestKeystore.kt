package dev.keyswap.android

import android.security.keystore.KeyGenParameterSpec
import java.io.InputStream
import java.io.OutputStream
import java.security.GeneralSecurityException
import java.security.Key
import java.security.KeyStoreSpi
import java.security.Provider
import java.security.SecureRandom
import java.security.Security
import java.security.cert.Certificate
import java.security.spec.AlgorithmParameterSpec
import java.util.Collections
import java.util.Date
import java.util.Enumeration
import javax.crypto.KeyGenerator
import javax.crypto.KeyGeneratorSpi
import javax.crypto.SecretKey

/** A device's keystore in memory, since Robolectric has none. */
object TestKeystore : Provider("AndroidKeyStore", "1.0", "for tests") {
    val held = HashMap<String, SecretKey>()

    /** As a keystore that fails says it. */
    var failure: Exception? = null

    private fun readResolve(): Any = TestKeystore

    init {
        put("KeyStore.AndroidKeyStore", Store::class.java.name)
        put("KeyGenerator.AES", Generator::class.java.name)
    }

    /** Empty, and in place. */
    fun install() {
        held.clear()
        failure = null
        Security.removeProvider(name)
        Security.addProvider(this)
    }

    class Store : KeyStoreSpi() {
        override fun engineLoad(stream: InputStream?, password: CharArray?) = Unit

        override fun engineGetKey(alias: String, password: CharArray?): Key? {
            failure?.let { throw it }
            return held[alias]
        }

        override fun engineContainsAlias(alias: String) = alias in held

        override fun engineIsKeyEntry(alias: String) = alias in held

        override fun engineIsCertificateEntry(alias: String) = false

        override fun engineAliases(): Enumeration<String> = Collections.enumeration(held.keys)

        override fun engineSize() = held.size

        override fun engineDeleteEntry(alias: String) {
            held.remove(alias)
        }

        override fun engineGetCreationDate(alias: String) = Date(0)

        override fun engineGetCertificate(alias: String): Certificate? = null

        override fun engineGetCertificateChain(alias: String): Array<Certificate>? = null

        override fun engineGetCertificateAlias(certificate: Certificate): String? = null

        override fun engineSetKeyEntry(alias: String, key: Key, password: CharArray?, chain: Array<Certificate>?) = only()

        override fun engineSetKeyEntry(alias: String, key: ByteArray, chain: Array<Certificate>?) = only()

        override fun engineSetCertificateEntry(alias: String, certificate: Certificate) = only()

        override fun engineStore(stream: OutputStream?, password: CharArray?) = only()

        private fun only(): Nothing = throw UnsupportedOperationException("its keys are generated in it")
    }

    class Generator : KeyGeneratorSpi() {
        private lateinit var spec: KeyGenParameterSpec

        override fun engineInit(spec: AlgorithmParameterSpec, random: SecureRandom?) {
            this.spec = spec as KeyGenParameterSpec
        }

        override fun engineInit(random: SecureRandom?) = Unit

        override fun engineInit(size: Int, random: SecureRandom?) = Unit

        override fun engineGenerateKey(): SecretKey {
            // As the keystore: what was lost gives way to what is new.
            if (failure is GeneralSecurityException) failure = null
            failure?.let { throw it }
            val ours = KeyGenerator.getInstance("AES", Security.getProviders().first { it !== TestKeystore && it.getService("KeyGenerator", "AES") != null })
            return ours.apply { init(256) }.generateKey().also { held[spec.keystoreAlias] = it }
        }
    }
}
