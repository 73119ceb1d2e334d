import Foundation

/// The numbers that the core works with: `Policy { $0.poll = 60 }`. Times are seconds. What is not set keeps its
/// default, which stands in the comment of each. Most programs change none.
///
/// As JSON it has the names of the other languages, where the coder converts to and from snake case.
public struct Policy: Sendable, Equatable, Codable {
    // generated: policy (by keyswap-generate: do not edit)
    /// Share of the remaining life, at the fetch, that is left when a refresh begins. 0.3: Vault and Kafka use a
    /// ratio too.
    public var softLeadRatio: Double?
    /// The most that a refresh runs ahead of the end. 20 min: what Databricks' clients use.
    public var softLeadMax: TimeInterval?
    /// Share of the life before its end in which requests wait for a running fetch. 0.1.
    public var hardLeadRatio: Double?
    /// The most that this window lasts. 60 s: short enough for short lives.
    public var hardLeadMax: TimeInterval?
    /// Time between fetches from a source that reads what stands somewhere, whatever the end that the set names.
    /// 300 s: the AWS secrets agent's. A source that mints is not polled.
    public var poll: TimeInterval?
    /// How far a poll may stray from its time, as a share, so that fleets do not march in step. 0.2.
    public var pollSpread: Double?
    /// The longest that anything a source says puts off the next fetch: `refresh_after`, a splay, `Retry-After`, an
    /// end. 1 h: a time that the other side names never silences a client.
    public var ceiling: TimeInterval?
    /// The least time between two starts of a fetch, even after success. 5 s, less for short lives (a tenth of the
    /// life), but never less than `fetchFloorMin`.
    public var fetchFloor: TimeInterval?
    /// The floor of the floor. 1 s: short-lived tokens must not spin.
    public var fetchFloorMin: TimeInterval?
    /// First delay after a failed fetch; it doubles, with full jitter. 1 s.
    public var backoffMin: TimeInterval?
    /// The longest such delay. 60 s: peers use 5 s to 10 min.
    public var backoffMax: TimeInterval?
    /// The longest wait for the next fetch while nothing is usable, whatever the failure is called and whatever
    /// `Retry-After` says. 15 s.
    public var backoffMaxUrgent: TimeInterval?
    /// A `Retry-After` is never taken as less than this. 1 s.
    public var retryAfterMin: TimeInterval?
    /// Nor as more than this. 5 min. A fetch comes at that time or up to as much later, and at most `backoffMax`
    /// later: a fleet that was told one instant must not come at it.
    public var retryAfterMax: TimeInterval?
    /// First delay after a failure that looks permanent; it doubles and never stops. 60 s.
    public var slowRetryMin: TimeInterval?
    /// The longest such delay. 5 min.
    public var slowRetryMax: TimeInterval?
    /// Time for one whole fetch, whatever the source is. 10 s.
    public var fetchTimeout: TimeInterval?
    /// How old the signature of an answer may be, where answers must be signed. 1 h: clocks that nobody looks
    /// after, and no more. The clock may also be slow, by 5 min.
    public var signatureAge: TimeInterval?
    /// How long a running fetch may hold up requests shortly before the end of a life. 1 s.
    public var hardWait: TimeInterval?
    /// The longest that a request waits for a fetch when it has nothing else to try. 10 s.
    public var wait: TimeInterval?
    /// The same for a key that is simply wrong: nothing that this handle held was ever accepted, and one forced
    /// fetch has found nothing else. 2 s.
    public var waitUnproven: TimeInterval?
    /// How far apart a source must have given the same older answer twice before it is believed, once the API has
    /// rejected all that is held. 10 s: longer than a region is wrong for a moment.
    public var goBack: TimeInterval?
    /// Forced fetches at once. 2.
    public var forcedBurst: Int?
    /// Time in which one more is earned. 5 s; Alamofire allows 5 in 30 s.
    public var forcedEvery: TimeInterval?
    /// Delays between probes of a candidate that was rejected; the last one repeats. 1, 2, 4, 8, 15, 30 s:
    /// propagation takes 15 s to minutes.
    public var probeDelays: [TimeInterval]?
    /// How long one probe may hold the slot. 5 s.
    public var probeTimeout: TimeInterval?
    /// When to probe again after an answer that said nothing about the credential. 1 s.
    public var probeAgain: TimeInterval?
    /// When a candidate is used unproven if nobody reports what the API says. 60 s.
    public var probeUnreported: TimeInterval?
    /// The least life a credential must have left to stay in use while its successor is proven. 30 s.
    public var keepInUse: TimeInterval?
    /// How long before its end a credential whose successor is still rejected is given up. 10 s.
    public var giveUp: TimeInterval?
    /// Time between two episodes of one rejected credential; it doubles. 30 s.
    public var episode: TimeInterval?
    /// The longest such time. 5 min: no storm, no silence.
    public var episodeMax: TimeInterval?
    /// How long after a swap, or after the first rejection, replicas may still disagree. 60 s.
    public var rotationWindow: TimeInterval?
    /// The pause before a credential is tried a second time. 200 ms, give or take half of it.
    public var rotationPause: TimeInterval?
    /// How long a previous credential is kept if the source says nothing. 10 min.
    public var previousGrace: TimeInterval?
    /// How far past its end a credential is used while the source cannot be reached: at most this, and at most its
    /// own life. 15 min. Zero is strict.
    public var staleGrace: TimeInterval?
    /// Everything is looked at again at least this often, whatever the timers say. 30 s.
    public var wake: TimeInterval?
    /// How long a credential other than the newest may be in use before that is told. 60 s.
    public var lagging: TimeInterval?
    /// For how long a report of the credentials in use holds; it is renewed each third of that. 900 s: the
    /// protocol's. Zero reports nothing.
    public var lease: TimeInterval?
    /// How long after a credential was last handed out no request carries it any more. 30 s: the time that `Client`
    /// gives a request.
    public var drain: TimeInterval?
    // end of policy

    public init(_ configure: (inout Policy) -> Void = { _ in }) { configure(&self) }

    /// As the core reads it, which judges it too.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config`, where a number is none that JSON has.
    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        do {
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        } catch {
            throw KeyswapError(.invalidConfig, "invalid policy: a number is not finite")
        }
    }
}
