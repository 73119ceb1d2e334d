import Foundation

/// The numbers that the core works with: `Policy { $0.poll = .seconds(60) }`. What is not set keeps its default, which
/// stands in the comment of each. Most programs change none.
///
/// As JSON it has the names of the other languages, and times are seconds.
public struct Policy: Sendable, Equatable, Codable {
    // generated: policy (by keyswap-generate: do not edit)
    /// Share of the remaining life, at the fetch, that is left when a refresh begins. 0.3: Vault and Kafka use a
    /// ratio too.
    public var softLeadRatio: Double?
    /// The most that a refresh runs ahead of the end. 20 min: what Databricks' clients use.
    public var softLeadMax: Duration?
    /// Share of the life before its end in which requests wait for a running fetch. 0.1.
    public var hardLeadRatio: Double?
    /// The most that this window lasts. 60 s: short enough for short lives.
    public var hardLeadMax: Duration?
    /// Time between fetches from a source that reads what stands somewhere, whatever the end that the set names.
    /// 300 s: the AWS secrets agent's. A source that mints is not polled.
    public var poll: Duration?
    /// How far a poll may stray from its time, as a share, so that fleets do not march in step. 0.2.
    public var pollSpread: Double?
    /// The longest that anything a source says puts off the next fetch: `refresh_after`, a splay, `Retry-After`, an
    /// end. 1 h: a time that the other side names never silences a client.
    public var ceiling: Duration?
    /// The least time between two starts of a fetch, even after success. 5 s, less for short lives (a tenth of the
    /// life), but never less than `fetchFloorMin`.
    public var fetchFloor: Duration?
    /// The floor of the floor. 1 s: short-lived tokens must not spin.
    public var fetchFloorMin: Duration?
    /// First delay after a failed fetch; it doubles, with full jitter. 1 s.
    public var backoffMin: Duration?
    /// The longest such delay. 60 s: peers use 5 s to 10 min.
    public var backoffMax: Duration?
    /// The longest wait for the next fetch while nothing is usable, whatever the failure is called and whatever
    /// `Retry-After` says. 15 s.
    public var backoffMaxUrgent: Duration?
    /// A `Retry-After` is never taken as less than this. 1 s.
    public var retryAfterMin: Duration?
    /// Nor as more than this. 5 min. A fetch comes at that time or up to as much later, and at most `backoffMax`
    /// later: a fleet that was told one instant must not come at it.
    public var retryAfterMax: Duration?
    /// First delay after a failure that looks permanent; it doubles and never stops. 60 s.
    public var slowRetryMin: Duration?
    /// The longest such delay. 5 min.
    public var slowRetryMax: Duration?
    /// Time for one whole fetch, whatever the source is. 10 s.
    public var fetchTimeout: Duration?
    /// How old the signature of an answer may be, where answers must be signed. 1 h: clocks that nobody looks
    /// after, and no more. The clock may also be slow, by 5 min.
    public var signatureAge: Duration?
    /// How long a running fetch may hold up requests shortly before the end of a life. 1 s.
    public var hardWait: Duration?
    /// The longest that a request waits for a fetch when it has nothing else to try. 10 s.
    public var wait: Duration?
    /// The same for a key that is simply wrong: nothing that this handle held was ever accepted, and one forced
    /// fetch has found nothing else. 2 s.
    public var waitUnproven: Duration?
    /// How far apart a source must have given the same older answer twice before it is believed, once the API has
    /// rejected all that is held. 10 s: longer than a region is wrong for a moment.
    public var goBack: Duration?
    /// Forced fetches at once. 2.
    public var forcedBurst: Int?
    /// Time in which one more is earned. 5 s; Alamofire allows 5 in 30 s.
    public var forcedEvery: Duration?
    /// Delays between probes of a candidate that was rejected; the last one repeats. 1, 2, 4, 8, 15, 30 s:
    /// propagation takes 15 s to minutes.
    public var probeDelays: [Duration]?
    /// How long one probe may hold the slot. 5 s.
    public var probeTimeout: Duration?
    /// When to probe again after an answer that said nothing about the credential. 1 s.
    public var probeAgain: Duration?
    /// When a candidate is used unproven if nobody reports what the API says. 60 s.
    public var probeUnreported: Duration?
    /// The least life a credential must have left to stay in use while its successor is proven. 30 s.
    public var keepInUse: Duration?
    /// How long before its end a credential whose successor is still rejected is given up. 10 s.
    public var giveUp: Duration?
    /// Time between two episodes of one rejected credential; it doubles. 30 s.
    public var episode: Duration?
    /// The longest such time. 5 min: no storm, no silence.
    public var episodeMax: Duration?
    /// How long after a swap, or after the first rejection, replicas may still disagree. 60 s.
    public var rotationWindow: Duration?
    /// The pause before a credential is tried a second time. 200 ms, give or take half of it.
    public var rotationPause: Duration?
    /// How long a previous credential is kept if the source says nothing. 10 min.
    public var previousGrace: Duration?
    /// How far past its end a credential is used while the source cannot be reached: at most this, and at most its
    /// own life. 15 min. Zero is strict.
    public var staleGrace: Duration?
    /// Everything is looked at again at least this often, whatever the timers say. 30 s.
    public var wake: Duration?
    /// How long a credential other than the newest may be in use before that is told. 60 s.
    public var lagging: Duration?
    /// For how long a report of the credentials in use holds; it is renewed each third of that. 900 s: the
    /// protocol's. Zero reports nothing.
    public var lease: Duration?
    /// How long after a credential was last handed out no request carries it any more. 30 s: the time that `Client`
    /// gives a request.
    public var drain: Duration?
    // end of policy

    /// The defaults, but for what is set here.
    public init(_ configure: (inout Policy) -> Void = { _ in }) { configure(&self) }

    /// As the core reads it, which judges it too.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config`, where a number is none that JSON has.
    func json() throws -> String {
        do {
            return String(decoding: try JSONEncoder().encode(self), as: UTF8.self)
        } catch {
            throw KeyswapError(.invalidConfig, "invalid policy: a number is not finite")
        }
    }

    // generated: json (by keyswap-generate: do not edit)
    private enum Name: String, CodingKey {
        case softLeadRatio = "soft_lead_ratio"
        case softLeadMax = "soft_lead_max"
        case hardLeadRatio = "hard_lead_ratio"
        case hardLeadMax = "hard_lead_max"
        case poll
        case pollSpread = "poll_spread"
        case ceiling
        case fetchFloor = "fetch_floor"
        case fetchFloorMin = "fetch_floor_min"
        case backoffMin = "backoff_min"
        case backoffMax = "backoff_max"
        case backoffMaxUrgent = "backoff_max_urgent"
        case retryAfterMin = "retry_after_min"
        case retryAfterMax = "retry_after_max"
        case slowRetryMin = "slow_retry_min"
        case slowRetryMax = "slow_retry_max"
        case fetchTimeout = "fetch_timeout"
        case signatureAge = "signature_age"
        case hardWait = "hard_wait"
        case wait
        case waitUnproven = "wait_unproven"
        case goBack = "go_back"
        case forcedBurst = "forced_burst"
        case forcedEvery = "forced_every"
        case probeDelays = "probe_delays"
        case probeTimeout = "probe_timeout"
        case probeAgain = "probe_again"
        case probeUnreported = "probe_unreported"
        case keepInUse = "keep_in_use"
        case giveUp = "give_up"
        case episode
        case episodeMax = "episode_max"
        case rotationWindow = "rotation_window"
        case rotationPause = "rotation_pause"
        case previousGrace = "previous_grace"
        case staleGrace = "stale_grace"
        case wake
        case lagging
        case lease
        case drain
    }

    /// From numbers by the names that all languages share.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Name.self)
        softLeadRatio = try values.decodeIfPresent(Double.self, forKey: .softLeadRatio)
        softLeadMax = try values.decodeIfPresent(Double.self, forKey: .softLeadMax).map(Duration.init(inSeconds:))
        hardLeadRatio = try values.decodeIfPresent(Double.self, forKey: .hardLeadRatio)
        hardLeadMax = try values.decodeIfPresent(Double.self, forKey: .hardLeadMax).map(Duration.init(inSeconds:))
        poll = try values.decodeIfPresent(Double.self, forKey: .poll).map(Duration.init(inSeconds:))
        pollSpread = try values.decodeIfPresent(Double.self, forKey: .pollSpread)
        ceiling = try values.decodeIfPresent(Double.self, forKey: .ceiling).map(Duration.init(inSeconds:))
        fetchFloor = try values.decodeIfPresent(Double.self, forKey: .fetchFloor).map(Duration.init(inSeconds:))
        fetchFloorMin = try values.decodeIfPresent(Double.self, forKey: .fetchFloorMin).map(Duration.init(inSeconds:))
        backoffMin = try values.decodeIfPresent(Double.self, forKey: .backoffMin).map(Duration.init(inSeconds:))
        backoffMax = try values.decodeIfPresent(Double.self, forKey: .backoffMax).map(Duration.init(inSeconds:))
        backoffMaxUrgent = try values.decodeIfPresent(Double.self, forKey: .backoffMaxUrgent).map(Duration.init(inSeconds:))
        retryAfterMin = try values.decodeIfPresent(Double.self, forKey: .retryAfterMin).map(Duration.init(inSeconds:))
        retryAfterMax = try values.decodeIfPresent(Double.self, forKey: .retryAfterMax).map(Duration.init(inSeconds:))
        slowRetryMin = try values.decodeIfPresent(Double.self, forKey: .slowRetryMin).map(Duration.init(inSeconds:))
        slowRetryMax = try values.decodeIfPresent(Double.self, forKey: .slowRetryMax).map(Duration.init(inSeconds:))
        fetchTimeout = try values.decodeIfPresent(Double.self, forKey: .fetchTimeout).map(Duration.init(inSeconds:))
        signatureAge = try values.decodeIfPresent(Double.self, forKey: .signatureAge).map(Duration.init(inSeconds:))
        hardWait = try values.decodeIfPresent(Double.self, forKey: .hardWait).map(Duration.init(inSeconds:))
        wait = try values.decodeIfPresent(Double.self, forKey: .wait).map(Duration.init(inSeconds:))
        waitUnproven = try values.decodeIfPresent(Double.self, forKey: .waitUnproven).map(Duration.init(inSeconds:))
        goBack = try values.decodeIfPresent(Double.self, forKey: .goBack).map(Duration.init(inSeconds:))
        forcedBurst = try values.decodeIfPresent(Int.self, forKey: .forcedBurst)
        forcedEvery = try values.decodeIfPresent(Double.self, forKey: .forcedEvery).map(Duration.init(inSeconds:))
        probeDelays = try values.decodeIfPresent([Double].self, forKey: .probeDelays)?.map(Duration.init(inSeconds:))
        probeTimeout = try values.decodeIfPresent(Double.self, forKey: .probeTimeout).map(Duration.init(inSeconds:))
        probeAgain = try values.decodeIfPresent(Double.self, forKey: .probeAgain).map(Duration.init(inSeconds:))
        probeUnreported = try values.decodeIfPresent(Double.self, forKey: .probeUnreported).map(Duration.init(inSeconds:))
        keepInUse = try values.decodeIfPresent(Double.self, forKey: .keepInUse).map(Duration.init(inSeconds:))
        giveUp = try values.decodeIfPresent(Double.self, forKey: .giveUp).map(Duration.init(inSeconds:))
        episode = try values.decodeIfPresent(Double.self, forKey: .episode).map(Duration.init(inSeconds:))
        episodeMax = try values.decodeIfPresent(Double.self, forKey: .episodeMax).map(Duration.init(inSeconds:))
        rotationWindow = try values.decodeIfPresent(Double.self, forKey: .rotationWindow).map(Duration.init(inSeconds:))
        rotationPause = try values.decodeIfPresent(Double.self, forKey: .rotationPause).map(Duration.init(inSeconds:))
        previousGrace = try values.decodeIfPresent(Double.self, forKey: .previousGrace).map(Duration.init(inSeconds:))
        staleGrace = try values.decodeIfPresent(Double.self, forKey: .staleGrace).map(Duration.init(inSeconds:))
        wake = try values.decodeIfPresent(Double.self, forKey: .wake).map(Duration.init(inSeconds:))
        lagging = try values.decodeIfPresent(Double.self, forKey: .lagging).map(Duration.init(inSeconds:))
        lease = try values.decodeIfPresent(Double.self, forKey: .lease).map(Duration.init(inSeconds:))
        drain = try values.decodeIfPresent(Double.self, forKey: .drain).map(Duration.init(inSeconds:))
    }

    /// To numbers by the names that all languages share.
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: Name.self)
        try values.encodeIfPresent(softLeadRatio, forKey: .softLeadRatio)
        try values.encodeIfPresent(softLeadMax?.inSeconds, forKey: .softLeadMax)
        try values.encodeIfPresent(hardLeadRatio, forKey: .hardLeadRatio)
        try values.encodeIfPresent(hardLeadMax?.inSeconds, forKey: .hardLeadMax)
        try values.encodeIfPresent(poll?.inSeconds, forKey: .poll)
        try values.encodeIfPresent(pollSpread, forKey: .pollSpread)
        try values.encodeIfPresent(ceiling?.inSeconds, forKey: .ceiling)
        try values.encodeIfPresent(fetchFloor?.inSeconds, forKey: .fetchFloor)
        try values.encodeIfPresent(fetchFloorMin?.inSeconds, forKey: .fetchFloorMin)
        try values.encodeIfPresent(backoffMin?.inSeconds, forKey: .backoffMin)
        try values.encodeIfPresent(backoffMax?.inSeconds, forKey: .backoffMax)
        try values.encodeIfPresent(backoffMaxUrgent?.inSeconds, forKey: .backoffMaxUrgent)
        try values.encodeIfPresent(retryAfterMin?.inSeconds, forKey: .retryAfterMin)
        try values.encodeIfPresent(retryAfterMax?.inSeconds, forKey: .retryAfterMax)
        try values.encodeIfPresent(slowRetryMin?.inSeconds, forKey: .slowRetryMin)
        try values.encodeIfPresent(slowRetryMax?.inSeconds, forKey: .slowRetryMax)
        try values.encodeIfPresent(fetchTimeout?.inSeconds, forKey: .fetchTimeout)
        try values.encodeIfPresent(signatureAge?.inSeconds, forKey: .signatureAge)
        try values.encodeIfPresent(hardWait?.inSeconds, forKey: .hardWait)
        try values.encodeIfPresent(wait?.inSeconds, forKey: .wait)
        try values.encodeIfPresent(waitUnproven?.inSeconds, forKey: .waitUnproven)
        try values.encodeIfPresent(goBack?.inSeconds, forKey: .goBack)
        try values.encodeIfPresent(forcedBurst, forKey: .forcedBurst)
        try values.encodeIfPresent(forcedEvery?.inSeconds, forKey: .forcedEvery)
        try values.encodeIfPresent(probeDelays?.map(\.inSeconds), forKey: .probeDelays)
        try values.encodeIfPresent(probeTimeout?.inSeconds, forKey: .probeTimeout)
        try values.encodeIfPresent(probeAgain?.inSeconds, forKey: .probeAgain)
        try values.encodeIfPresent(probeUnreported?.inSeconds, forKey: .probeUnreported)
        try values.encodeIfPresent(keepInUse?.inSeconds, forKey: .keepInUse)
        try values.encodeIfPresent(giveUp?.inSeconds, forKey: .giveUp)
        try values.encodeIfPresent(episode?.inSeconds, forKey: .episode)
        try values.encodeIfPresent(episodeMax?.inSeconds, forKey: .episodeMax)
        try values.encodeIfPresent(rotationWindow?.inSeconds, forKey: .rotationWindow)
        try values.encodeIfPresent(rotationPause?.inSeconds, forKey: .rotationPause)
        try values.encodeIfPresent(previousGrace?.inSeconds, forKey: .previousGrace)
        try values.encodeIfPresent(staleGrace?.inSeconds, forKey: .staleGrace)
        try values.encodeIfPresent(wake?.inSeconds, forKey: .wake)
        try values.encodeIfPresent(lagging?.inSeconds, forKey: .lagging)
        try values.encodeIfPresent(lease?.inSeconds, forKey: .lease)
        try values.encodeIfPresent(drain?.inSeconds, forKey: .drain)
    }
    // end of json
}
