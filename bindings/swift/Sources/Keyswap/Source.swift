import Foundation
import KeySwapNative

/// Where sets come from.
public struct Source: Sendable {
    let native: NativeSource

    // generated: endpoint (by keyswap-generate: do not edit)
    /// A rotation endpoint that speaks `keyswap/1`.
    ///
    /// - Parameters:
    ///   - url: The URL of the set itself, such as `https://keys.example.com/keyswap/v1/sets/trading`.
    ///   - bootstrap: The credential that the endpoint is asked with. Unless it, a file, a function or none is
    ///     given, it is the environment variable `KEYSWAP_BOOTSTRAP`.
    ///   - bootstrapFile: A file that holds the bootstrap credential. It is read at first use, and again once the
    ///     endpoint rejects it.
    ///   - bootstrapStorage: What holds the bootstrap credential, a `Keychain` say. It is read as a file is.
    ///   - noBootstrap: That the endpoint is asked without a bootstrap credential: it knows its clients by other
    ///     means, such as a client certificate.
    ///   - timeout: How long one answer may take. By default the policy's `fetchTimeout`, 10 s, which always
    ///     holds as well.
    ///   - push: Whether the push channel is followed where the set offers one. True by default; polling never
    ///     stops.
    ///   - heartbeat: How long the push channel may be silent until it counts as lost and is connected anew. 45 s
    ///     by default.
    ///   - signedBy: The provider's public key, the base64 of its 32 bytes (Ed25519). With it, answers that are
    ///     not signed by it are refused.
    ///   - setName: The name of the set, where the last part of the URL is not that. An answer for another set is
    ///     refused.
    ///   - rootCertificates: Certificates (PEM) that are trusted instead of the machine's.
    ///   - rootCertificatesFile: A file that holds the trusted certificates. It is read again when it changes.
    ///   - clientCertificate: A certificate chain and its private key (PEM), shown to the endpoint: mutual TLS.
    ///   - clientCertificateFile: A file that holds the client certificate and its key. It is read again when it
    ///     changes, so certificates are renewed without a restart.
    ///   - app: What the provider's operators see this program as, in reports of the keys in use.
    ///   - plainHTTPAllowed: Allows plain HTTP to other machines. Everybody on the way can read the keys.
    ///   - regions: Further endpoints that show the same set, asked in order when this one fails.
    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public static func endpoint(
        _ url: URL,
        bootstrap: String? = nil,
        bootstrapFile: String? = nil,
        bootstrapStorage: (any SecretStorage)? = nil,
        noBootstrap: Bool = false,
        timeout: Duration? = nil,
        push: Bool = true,
        heartbeat: Duration? = nil,
        signedBy: String? = nil,
        setName: String? = nil,
        rootCertificates: String? = nil,
        rootCertificatesFile: String? = nil,
        clientCertificate: String? = nil,
        clientCertificateFile: String? = nil,
        app: String? = nil,
        plainHTTPAllowed: Bool = false,
        regions: [Source] = []
    ) throws -> Source {
        let options = NativeEndpointOptions(
            url: url.absoluteString,
            bootstrap: bootstrap.map { NativeSecret(text: $0) },
            bootstrapFile: bootstrapFile,
            noBootstrap: noBootstrap,
            timeout: timeout?.inSeconds,
            push: push,
            heartbeat: heartbeat?.inSeconds,
            signedBy: signedBy,
            setName: setName,
            rootCertificates: rootCertificates,
            rootCertificatesFile: rootCertificatesFile,
            clientCertificate: clientCertificate.map { NativeSecret(text: $0) },
            clientCertificateFile: clientCertificateFile,
            app: app,
            plainHttpAllowed: plainHTTPAllowed)
    // end of endpoint
        return Source(native: try calling {
            let first = try NativeSource.endpoint(options: options, storage: bootstrapStorage.map(Loading.init))
            return try regions.reduce(first) { try $0.or(other: $1.native) }
        })
    }

    /// A file or a folder that something else keeps fresh.
    public static func file(_ path: String) -> Source {
        Source(native: .file(path: path))
    }

    /// A key in an environment variable, for development. It never rotates.
    public static func env(_ variable: String, id: String? = nil) -> Source {
        Source(native: .env(variable: variable, id: id))
    }

    /// What a storage holds, which the program keeps fresh: the JSON of a set.
    public static func storage(_ storage: any SecretStorage) -> Source {
        Source(native: .storage(storage: Loading(storage)))
    }

    /// A function of yours: it returns the set as it is now. One that throws is a failed fetch, and displaces nothing.
    /// It is polled, unless it `mints`: if each call makes a new credential, as that of an OAuth2 server does, it is
    /// called by the life of what it made.
    public static func of(mints: Bool = false, _ fetch: @escaping @Sendable () async throws -> Document) -> Source {
        Source(native: .function(function: Asking(fetch), mints: mints))
    }

    /// This source, not asked while `isReachable` says that the device has no network.
    public func reachable(_ isReachable: @escaping @Sendable () -> Bool) throws -> Source {
        Source(native: try calling { try native.reachable(device: Reachability(isReachable)) })
    }
}

/// The device's own place for secrets.
public protocol SecretStorage: Sendable {
    /// What is stored; nil if nothing is. It may block.
    func load() throws -> String?
}

/// A set as a source of yours returns it. Printing it shows the ids, never the material.
public struct Document: Sendable, CustomStringConvertible, CustomReflectable {
    /// One credential. The material named `key` stands beside the id; more of it in `material`.
    public struct Entry: Sendable, CustomStringConvertible, CustomReflectable {
        /// What events and errors call it.
        public let id: String
        let material: [String: String]
        let expiresAt: Date?
        let graceExpiresAt: Date?
        let activateAt: Date?

        /// A credential whose key is `key`.
        public init(
            id: String, key: String, material: [String: String] = [:], expiresAt: Date? = nil,
            graceExpiresAt: Date? = nil, activateAt: Date? = nil
        ) {
            self.id = id
            self.material = material.merging(["key": key]) { $1 }
            self.expiresAt = expiresAt
            self.graceExpiresAt = graceExpiresAt
            self.activateAt = activateAt
        }

        /// Its id.
        public var description: String { "Entry(\(id))" }
        /// Its id alone.
        public var customMirror: Mirror { Mirror(self, children: ["id": id]) }

        var json: [String: Any] {
            var json: [String: Any] = ["id": id, "material": material]
            json["expires_at"] = expiresAt?.timeIntervalSince1970
            json["grace_expires_at"] = graceExpiresAt?.timeIntervalSince1970
            json["activate_at"] = activateAt?.timeIntervalSince1970
            return json
        }
    }

    let current: Entry
    let previous: [Entry]
    let next: Entry?
    let revoked: [String]
    let generation: UInt64?

    /// A set. A source that numbers its sets passes the `generation`, which only rises.
    public init(
        current: Entry, previous: [Entry] = [], next: Entry? = nil, revoked: [String] = [],
        generation: UInt64? = nil
    ) {
        self.current = current
        self.previous = previous
        self.next = next
        self.revoked = revoked
        self.generation = generation
    }

    /// The id of its newest credential.
    public var description: String { "Document(\(current.id))" }
    /// That id alone.
    public var customMirror: Mirror { Mirror(self, children: ["current": current.id]) }

    func secret() throws -> NativeSecret {
        var json: [String: Any] = ["current": current.json, "previous": previous.map(\.json), "revoked": revoked]
        json["next"] = next?.json
        json["generation"] = generation
        let data = try JSONSerialization.data(withJSONObject: json)
        return NativeSecret(text: String(decoding: data, as: UTF8.self))
    }
}

/// A program's function as the core asks it. What it throws arrives by its type alone: its words may hold a key.
private final class Asking: NativeFunction {
    private let ask: @Sendable () async throws -> Document

    init(_ ask: @escaping @Sendable () async throws -> Document) { self.ask = ask }

    func begin(answer: NativeAnswer) -> NativePending {
        Running(
            Task { [ask] in
                do {
                    answer.settle(returned: try await ask().secret(), failure: nil)
                } catch {
                    answer.settle(returned: nil, failure: thrown(error))
                }
            })
    }
}

private final class Running: NativePending {
    private let task: Task<Void, Never>

    init(_ task: Task<Void, Never>) { self.task = task }

    func cancel() { task.cancel() }
}

private final class Loading: NativeStorage {
    private let storage: any SecretStorage

    init(_ storage: any SecretStorage) { self.storage = storage }

    func load() throws -> NativeSecret? {
        do {
            return try storage.load().map { NativeSecret(text: $0) }
        } catch let error as KeyswapError {
            throw NativeForeignError.Failed(reason: error.message)
        } catch {
            throw NativeForeignError.Failed(reason: thrown(error))
        }
    }
}

private final class Reachability: NativeReachability {
    private let ask: @Sendable () -> Bool

    init(_ ask: @escaping @Sendable () -> Bool) { self.ask = ask }

    func isReachable() throws -> Bool { ask() }
}
