import Foundation
import KeySwapNative

/// Where sets come from.
public struct Source: Sendable {
    let native: NativeSource

    /// A rotation endpoint that speaks `keyswap/1`, at the URL of the set itself.
    ///
    /// `bootstrap` is what it is fetched with; `bootstrapFile` and `bootstrapStorage` (a `Keychain`, say) hold it, and
    /// are read again when it is rejected. Without any, the environment variable KEYSWAP_BOOTSTRAP says so, unless the
    /// endpoint wants none (`noBootstrap`). Times are seconds. `signedBy` is the provider's public key: answers that it
    /// did not sign are refused. `setName` is the name of the set, where the last part of the URL is not that: an
    /// answer for another one is refused. Certificates are PEM; files of them are read again when they change.
    /// `regions` are further endpoints that show the same set, asked in order when this one fails.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public static func endpoint(
        _ url: URL, bootstrap: String? = nil, bootstrapFile: String? = nil,
        bootstrapStorage: (any SecretStorage)? = nil, noBootstrap: Bool = false, timeout: TimeInterval? = nil,
        push: Bool = true, heartbeat: TimeInterval? = nil, signedBy: String? = nil,
        setName: String? = nil, rootCertificates: String? = nil, rootCertificatesFile: String? = nil,
        clientCertificate: String? = nil, clientCertificateFile: String? = nil, app: String? = nil,
        plainHTTPAllowed: Bool = false, regions: [Source] = []
    ) throws -> Source {
        let options = NativeEndpointOptions(
            url: url.absoluteString, bootstrap: bootstrap.map { NativeSecret(text: $0) },
            bootstrapFile: bootstrapFile, noBootstrap: noBootstrap, timeout: timeout, push: push,
            heartbeat: heartbeat, signedBy: signedBy, setName: setName, rootCertificates: rootCertificates,
            rootCertificatesFile: rootCertificatesFile,
            clientCertificate: clientCertificate.map { NativeSecret(text: $0) },
            clientCertificateFile: clientCertificateFile, app: app, plainHttpAllowed: plainHTTPAllowed)
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
        public let id: String
        let material: [String: String]
        let expiresAt: Date?
        let graceExpiresAt: Date?
        let activateAt: Date?

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

        public var description: String { "Entry(\(id))" }
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

    public var description: String { "Document(\(current.id))" }
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
