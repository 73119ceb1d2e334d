package dev.keyswap

import kotlin.properties.ReadWriteProperty
import kotlin.reflect.KProperty
import kotlin.time.Duration
import kotlin.time.DurationUnit.SECONDS

/**
 * The numbers that the core works with: `Policy { poll = 1.minutes }`. What is not set keeps its default, which stands
 * in the comment of each. Most programs change none.
 */
public class Policy(configure: Policy.() -> Unit = {}) {
    private val numbers = LinkedHashMap<String, String>()

    /** The share of the remaining life, at the fetch, that is left when a refresh begins. 0.3. */
    public var softLeadRatio: Double? by number("soft_lead_ratio")

    /** The most that a refresh runs ahead of the end. 20 min. */
    public var softLeadMax: Duration? by time("soft_lead_max")

    /** The share of the life before its end in which requests wait for a running fetch. 0.1. */
    public var hardLeadRatio: Double? by number("hard_lead_ratio")

    /** The most that this window lasts. 60 s. */
    public var hardLeadMax: Duration? by time("hard_lead_max")

    /**
     * The time between fetches from a source that reads what stands somewhere, whatever end the set names. 300 s. A
     * source that mints is not polled.
     */
    public var poll: Duration? by time("poll")

    /** How far a poll may stray from its time, as a share, so that fleets do not march in step. 0.2. */
    public var pollSpread: Double? by number("poll_spread")

    /** The longest that anything a source says puts off the next fetch. 1 h. */
    public var ceiling: Duration? by time("ceiling")

    /**
     * The least time between two starts of a fetch, even after success. 5 s; for short lives a tenth of the life, but
     * never less than [fetchFloorMin].
     */
    public var fetchFloor: Duration? by time("fetch_floor")

    /** The floor of the floor. 1 s. */
    public var fetchFloorMin: Duration? by time("fetch_floor_min")

    /** The first delay after a failed fetch; it doubles, with full jitter. 1 s. */
    public var backoffMin: Duration? by time("backoff_min")

    /** The longest such delay. 60 s. */
    public var backoffMax: Duration? by time("backoff_max")

    /** The longest wait for the next fetch while nothing is usable, whatever `Retry-After` says. 15 s. */
    public var backoffMaxUrgent: Duration? by time("backoff_max_urgent")

    /** A `Retry-After` is never taken as less than this. 1 s. */
    public var retryAfterMin: Duration? by time("retry_after_min")

    /**
     * Nor as more than this. 5 min. A fetch comes at that time or up to as much later, and at most [backoffMax]
     * later.
     */
    public var retryAfterMax: Duration? by time("retry_after_max")

    /** The first delay after a failure that looks permanent; it doubles and never stops. 60 s. */
    public var slowRetryMin: Duration? by time("slow_retry_min")

    /** The longest such delay. 5 min. */
    public var slowRetryMax: Duration? by time("slow_retry_max")

    /** The time for one whole fetch, whatever the source is. 10 s. */
    public var fetchTimeout: Duration? by time("fetch_timeout")

    /**
     * How old the signature of an answer may be, where answers must be signed. 1 h. The clock may also be slow, by 5
     * min.
     */
    public var signatureAge: Duration? by time("signature_age")

    /** How long a running fetch may hold up requests shortly before the end of a life. 1 s. */
    public var hardWait: Duration? by time("hard_wait")

    /** The longest that a request waits for a fetch when it has nothing else to try. 10 s. */
    public var wait: Duration? by time("wait")

    /**
     * The same for a key that is simply wrong: nothing was ever accepted, and a forced fetch found nothing else. 2 s.
     */
    public var waitUnproven: Duration? by time("wait_unproven")

    /**
     * How far apart a source must have given the same older answer twice before it is believed, once the API has
     * rejected all that is held. 10 s.
     */
    public var goBack: Duration? by time("go_back")

    /** Forced fetches at once. 2. */
    public var forcedBurst: Int? by whole("forced_burst")

    /** The time in which one more is earned. 5 s. */
    public var forcedEvery: Duration? by time("forced_every")

    /** The delays between probes of a candidate that was rejected; the last one repeats. 1, 2, 4, 8, 15, 30 s. */
    public var probeDelays: List<Duration>? by property("probe_delays") { delays ->
        delays.joinToString(",", "[", "]") { it.toDouble(SECONDS).toString() }
    }

    /** How long one probe may hold the slot. 5 s. */
    public var probeTimeout: Duration? by time("probe_timeout")

    /** When to probe again after an answer that said nothing about the credential. 1 s. */
    public var probeAgain: Duration? by time("probe_again")

    /** When a candidate is used unproven if nobody reports what the API says. 60 s. */
    public var probeUnreported: Duration? by time("probe_unreported")

    /** The least life a credential must have left to stay in use while its successor is proven. 30 s. */
    public var keepInUse: Duration? by time("keep_in_use")

    /** How long before its end a credential whose successor is still rejected is given up. 10 s. */
    public var giveUp: Duration? by time("give_up")

    /** The time between two episodes of one rejected credential; it doubles. 30 s. */
    public var episode: Duration? by time("episode")

    /** The longest such time. 5 min. */
    public var episodeMax: Duration? by time("episode_max")

    /** How long after a swap, or after the first rejection, replicas may still disagree. 60 s. */
    public var rotationWindow: Duration? by time("rotation_window")

    /** The pause before a credential is tried a second time, give or take half of it. 200 ms. */
    public var rotationPause: Duration? by time("rotation_pause")

    /** How long a previous credential is kept if the source says nothing. 10 min. */
    public var previousGrace: Duration? by time("previous_grace")

    /**
     * How far past its end a credential is used while the source cannot be reached: at most this, and at most its own
     * life. 15 min. Zero is strict.
     */
    public var staleGrace: Duration? by time("stale_grace")

    /** Everything is looked at again at least this often, whatever the timers say. 30 s. */
    public var wake: Duration? by time("wake")

    /** How long a credential other than the newest may be in use before that is told. 60 s. */
    public var lagging: Duration? by time("lagging")

    /**
     * For how long a report of the credentials in use holds; it is renewed each third of that. 900 s. Zero reports
     * nothing.
     */
    public var lease: Duration? by time("lease")

    /** How long after a credential was last handed out no request carries it any more. 30 s. */
    public var drain: Duration? by time("drain")

    init {
        configure()
    }

    /** As the core reads it, which judges it too. */
    internal fun json(): String = numbers.entries.joinToString(",", "{", "}") { (name, value) -> "\"$name\":$value" }

    /** Numbers that have no property here, as the core writes them. */
    internal fun put(name: String, json: String) {
        numbers[name] = json
    }

    private fun time(name: String) = property<Duration>(name) { it.toDouble(SECONDS).toString() }

    private fun number(name: String) = property<Double>(name) { it.toString() }

    private fun whole(name: String) = property<Int>(name) { it.toString() }

    private fun <T : Any> property(name: String, write: (T) -> String) =
        object : ReadWriteProperty<Policy, T?> {
            private var value: T? = null

            override fun getValue(thisRef: Policy, property: KProperty<*>): T? = value

            override fun setValue(thisRef: Policy, property: KProperty<*>, value: T?) {
                this.value = value
                if (value == null) numbers.remove(name) else numbers[name] = write(value)
            }
        }
}
