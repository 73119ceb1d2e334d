#if canImport(Security)
import Foundation
import Security

/// A bootstrap credential (`bootstrapStorage`), or a whole set (`Source.keychain`), in the keychain of the device.
public final class Keychain: SecretStorage {
    private let service: String
    private let account: String

    /// The generic password of this service and account, of this device alone and readable once it was unlocked.
    public init(service: String, account: String = "keyswap") {
        self.service = service
        self.account = account
    }

    /// Stores it in place of what is there.
    ///
    /// - Throws: `KeyswapError` with the code `source_failed` if the keychain refuses.
    public func save(_ secret: String) throws {
        SecItemDelete(query as CFDictionary)
        var item = query
        item[kSecValueData] = Data(secret.utf8)
        item[kSecAttrAccessible] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
        let status = SecItemAdd(item as CFDictionary, nil)
        guard status == errSecSuccess else {
            throw KeyswapError(.sourceFailed, "the keychain refused to store it: \(status)")
        }
    }

    /// What is stored; nil if nothing is.
    public func load() throws -> String? {
        var asked = query
        asked[kSecReturnData] = true
        var found: CFTypeRef?
        switch SecItemCopyMatching(asked as CFDictionary, &found) {
        case errSecSuccess: return (found as? Data).map { String(decoding: $0, as: UTF8.self) }
        case errSecItemNotFound: return nil
        case let status: throw KeyswapError(.sourceFailed, "was refused by the keychain: \(status)")
        }
    }

    private var query: [CFString: Any] {
        [kSecClass: kSecClassGenericPassword, kSecAttrService: service, kSecAttrAccount: account]
    }
}

extension Source {
    /// What the keychain holds: a document, which your app keeps fresh.
    public static func keychain(_ keychain: Keychain) -> Source {
        .storage(keychain)
    }
}
#endif
