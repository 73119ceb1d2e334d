package dev.keyswap.android

import android.content.Context
import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyProperties
import android.util.AtomicFile
import dev.keyswap.SecretStorage
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.security.InvalidKeyException
import java.security.KeyStore
import java.security.UnrecoverableKeyException
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec

/**
 * A secret in a file of the app, sealed by a key that never leaves the device's keystore, and in no backup: a
 * bootstrap credential, or the set itself. [name] tells several apart.
 *
 * What can never be opened again counts as nothing stored, and the next [save] replaces it: devices lose keys, when
 * their lock is removed, say.
 */
public class KeystoreStorage(context: Context, private val name: String = "keyswap") : SecretStorage {
    private val alias = "dev.keyswap.$name"
    private val file = AtomicFile(File(context.noBackupFilesDir, "$name.sealed"))

    /** Stores it in place of what is there. Throws what the keystore throws, and [IOException]: then that is still there. */
    @Synchronized
    public fun save(secret: String) {
        val cipher = Cipher.getInstance(TRANSFORMATION)
        try {
            cipher.init(Cipher.ENCRYPT_MODE, key() ?: newKey())
        } catch (_: UnrecoverableKeyException) {
            cipher.init(Cipher.ENCRYPT_MODE, newKey())
        } catch (_: InvalidKeyException) {
            cipher.init(Cipher.ENCRYPT_MODE, newKey())
        }
        val sealed = cipher.iv + cipher.doFinal(secret.toByteArray())
        val stream = file.startWrite()
        try {
            stream.write(sealed)
            file.finishWrite(stream)
        } catch (failed: IOException) {
            file.failWrite(stream)
            throw failed
        }
    }

    /** What was saved last; null if nothing is stored that can be opened. Throws what may be otherwise next time. */
    @Synchronized
    override fun load(): String? {
        val sealed = try {
            file.readFully()
        } catch (_: FileNotFoundException) {
            return null
        }
        if (sealed.size < IV_BYTES + TAG_BITS / 8) return null
        return try {
            val cipher = Cipher.getInstance(TRANSFORMATION)
            cipher.init(Cipher.DECRYPT_MODE, key() ?: return null, GCMParameterSpec(TAG_BITS, sealed, 0, IV_BYTES))
            String(cipher.doFinal(sealed, IV_BYTES, sealed.size - IV_BYTES))
        } catch (_: UnrecoverableKeyException) {
            null
        } catch (_: InvalidKeyException) {
            null
        } catch (_: AEADBadTagException) {
            null
        }
    }

    private fun key(): SecretKey? =
        KeyStore.getInstance(PROVIDER).apply { load(null) }.getKey(alias, null) as? SecretKey

    /** In place of the one that is there. */
    private fun newKey(): SecretKey {
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val spec = KeyGenParameterSpec.Builder(alias, purposes)
            .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
            .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
            .build()
        return KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, PROVIDER).run {
            init(spec)
            generateKey()
        }
    }

    private companion object {
        const val PROVIDER = "AndroidKeyStore"
        const val TRANSFORMATION = "AES/GCM/NoPadding"
        const val IV_BYTES = 12
        const val TAG_BITS = 128
    }
}
