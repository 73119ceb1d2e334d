import Foundation
import KeySwapNative

/// One usable credential. Printing it shows its id, never its material.
public struct Credential: Sendable, CustomStringConvertible, CustomReflectable {
    let native: NativeCredential
    /// What the provider calls it. It is no secret.
    public let id: String
    /// The version of the credential, where the provider counts them.
    public let version: String?
    /// What it is good for.
    public let scopes: [String]
    /// When it was made.
    public let createdAt: Date?
    /// When it begins to be valid.
    public let notBefore: Date?
    /// When it is to be taken into use.
    public let activateAt: Date?
    /// When it ends.
    public let expiresAt: Date?
    /// Until when it is accepted after a newer one took its place.
    public let graceExpiresAt: Date?

    init(_ native: NativeCredential) {
        self.native = native
        let facts = native.facts()
        id = facts.id
        version = facts.version
        scopes = facts.scopes
        createdAt = date(facts.createdAtMs)
        notBefore = date(facts.notBeforeMs)
        activateAt = date(facts.activateAtMs)
        expiresAt = date(facts.expiresAtMs)
        graceExpiresAt = date(facts.graceExpiresAtMs)
    }

    /// A piece of material, in the clear: for the request, and nothing else. Nil if there is none of that name.
    public func reveal(_ name: String = "key") -> String? { native.reveal(name: name) }

    /// Its id.
    public var description: String { "Credential(\(id))" }
    /// Its id alone.
    public var customMirror: Mirror { Mirror(self, children: ["id": id]) }
}

/// The set that is held.
public struct CredentialSet: Sendable {
    /// Its number: a newer set has a higher one.
    public let generation: UInt64
    /// The newest credential; nil if the whole set is revoked.
    public let primary: Credential?
    /// Those before it that are still accepted, newest first.
    public let previous: [Credential]
    /// The one that comes after it, if that is announced.
    public let next: Credential?
    /// The ids that it revokes.
    public let revoked: [String]
    /// What its credentials are good for, unless they say so themselves.
    public let scopes: [String]
    /// Whom they are for.
    public let audience: [String]
}

/// Follows one source and always holds a fresh credential.
///
/// ```swift
/// let keys = try await KeySwap.follow(.endpoint(URL(string: "https://keys.example.com/keyswap/v1/sets/trading")!))
/// let key = try keys.current.reveal()
/// ```
///
/// It may be shared by tasks and threads. The last reference that goes ends it.
public final class KeySwap: Sendable {
    let native: NativeKeySwap
    private let cache: Cache

    /// Begins to follow, and does not wait.
    ///
    /// - Parameters:
    ///   - source: What is followed.
    ///   - policy: The numbers that the engine works with; those that are not named keep their defaults.
    ///   - name: What logs and metrics call the set, in a program that follows several.
    /// - Throws: `KeyswapError` with the code `invalid_config`.
    public init(_ source: Source, policy: Policy? = nil, name: String? = nil) throws {
        let cache = Cache()
        let numbers = try policy?.json()
        native = try calling {
            try NativeKeySwap.start(source: source.native, policy: numbers, name: name, watcher: cache)
        }
        self.cache = cache
    }

    /// Begins to follow, and waits for the first set.
    ///
    /// - Throws: the error of the first fetch, should it fail.
    public static func follow(
        _ source: Source, policy: Policy? = nil, name: String? = nil, timeout: Duration? = nil
    ) async throws -> KeySwap {
        let keys = try KeySwap(source, policy: policy, name: name)
        try await keys.ready(timeout: timeout)
        return keys
    }

    /// The credential in use. Reading it never waits, and crosses into the core only once an epoch.
    ///
    /// - Throws: why nothing is usable.
    public var current: Credential {
        get throws {
            if let held = try cache.held { return held }
            return try cache.fill { try calling { Credential(try native.current()) } }
        }
    }

    /// The local number of what requests see: it rises whenever that changes.
    public var epoch: UInt64 { cache.epoch }

    /// The set that is held; nil before the first fetch, and after the provider revoked it.
    public var credentials: CredentialSet? {
        guard let set = native.credentials() else { return nil }
        return CredentialSet(
            generation: set.generation, primary: set.primary.map(Credential.init),
            previous: set.previous.map(Credential.init), next: set.next.map(Credential.init), revoked: set.revoked,
            scopes: set.scopes, audience: set.audience)
    }

    /// What was counted so far.
    public var stats: Stats { Stats(native.stats()) }

    /// Waits until a credential is usable, for `timeout` at most.
    ///
    /// - Throws: the error of the fetch that runs, should it fail; `timeout`; `CancellationError`.
    public func ready(timeout: Duration? = nil) async throws {
        _ = try cache.held
        try await waiting { [native] in try await native.ready(timeout: timeout?.inSeconds, job: $0) }
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.
    ///
    /// - Throws: the error of that fetch; what was held is still held.
    public func refresh(timeout: Duration? = nil) async throws {
        _ = try cache.held
        try await waiting { [native] in try await native.refresh(timeout: timeout?.inSeconds, job: $0) }
    }

    /// Says that something newer may be there, for programs with a push channel of their own.
    public func hint(generation: UInt64? = nil, immediate: Bool = true) {
        native.hint(generation: generation, immediate: immediate)
    }

    /// The app is in the foreground again: what is due is done at once.
    public func enteredForeground() { native.wake() }

    /// The app leaves the foreground: what is due is done while there is time.
    public func enteredBackground() { native.wake() }

    /// The device changed its network: what failed is tried again now.
    public func networkChanged() {
        native.wake()
        native.hint(generation: nil, immediate: true)
    }

    /// What happens from now on: `for await event in keys.events { ... }`. It ends with the handle, and does not keep it alive.
    /// Who is slow is told how many events were missed (`lagged`).
    public var events: AsyncStream<Event> {
        let events = native.events()
        return AsyncStream { try? await waiting { try await events.next(job: $0) }.map(Event.init) }
    }

    /// Ends it, for all that use it. Afterwards nothing is usable.
    public func close() {
        cache.end()
        native.end()
    }

    /// `close`, and waits until the provider was told that nothing is used any more: for a second at most.
    public func shutdown() async {
        close()
        await native.shutdown()
    }
}

/// The credential of one epoch. The core tells each new epoch, and does not wait for what is done with it.
final class Cache: NativeWatcher, @unchecked Sendable {
    private let lock = NSLock()
    private var told: UInt64 = 0
    private var credential: Credential?
    private var isClosed = false

    var epoch: UInt64 { lock.withLock { told } }

    var held: Credential? {
        get throws {
            try lock.withLock {
                if isClosed { throw KeyswapError(.closed, "the handle was closed") }
                return credential
            }
        }
    }

    func published(epoch: UInt64) throws {
        lock.withLock {
            told = epoch
            credential = nil
        }
    }

    /// Keeps what is read, unless a new epoch was told meanwhile.
    func fill(_ read: () throws -> Credential) throws -> Credential {
        let before = epoch
        let fresh = try read()
        lock.withLock { if told == before { credential = fresh } }
        return fresh
    }

    func end() {
        lock.withLock {
            isClosed = true
            credential = nil
        }
    }
}

func date(_ millis: Int64?) -> Date? {
    millis.map { Date(timeIntervalSince1970: Double($0) / 1000) }
}
