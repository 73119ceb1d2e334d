package dev.keyswap

import kotlin.properties.ReadWriteProperty
import kotlin.reflect.KProperty
import kotlin.time.Duration
import kotlin.time.DurationUnit.SECONDS
import kotlin.time.toKotlinDuration

/**
 * The numbers that the core works with: `Policy { poll = 1.minutes }`. What is not set keeps its default, which stands
 * in the comment of each. Most programs change none.
 */
public class Policy(configure: Policy.() -> Unit = {}) {
    private val numbers = LinkedHashMap<String, String>()

    // generated: policy (by keyswap-generate: do not edit)
    /**
     * Share of the remaining life, at the fetch, that is left when a refresh begins. 0.3: Vault and Kafka use a
     * ratio too.
     */
    public var softLeadRatio: Double? by number("soft_lead_ratio")

    /** The most that a refresh runs ahead of the end. 20 min: what Databricks' clients use. */
    public var softLeadMax: Duration? by time("soft_lead_max")

    /** [softLeadMax], for Java. */
    public fun setSoftLeadMax(time: java.time.Duration?) {
        softLeadMax = time?.toKotlinDuration()
    }

    /** Share of the life before its end in which requests wait for a running fetch. 0.1. */
    public var hardLeadRatio: Double? by number("hard_lead_ratio")

    /** The most that this window lasts. 60 s: short enough for short lives. */
    public var hardLeadMax: Duration? by time("hard_lead_max")

    /** [hardLeadMax], for Java. */
    public fun setHardLeadMax(time: java.time.Duration?) {
        hardLeadMax = time?.toKotlinDuration()
    }

    /**
     * Time between fetches from a source that reads what stands somewhere, whatever the end that the set names.
     * 300 s: the AWS secrets agent's. A source that mints is not polled.
     */
    public var poll: Duration? by time("poll")

    /** [poll], for Java. */
    public fun setPoll(time: java.time.Duration?) {
        poll = time?.toKotlinDuration()
    }

    /** How far a poll may stray from its time, as a share, so that fleets do not march in step. 0.2. */
    public var pollSpread: Double? by number("poll_spread")

    /**
     * The longest that anything a source says puts off the next fetch: `refresh_after`, a splay, `Retry-After`, an
     * end. 1 h: a time that the other side names never silences a client.
     */
    public var ceiling: Duration? by time("ceiling")

    /** [ceiling], for Java. */
    public fun setCeiling(time: java.time.Duration?) {
        ceiling = time?.toKotlinDuration()
    }

    /**
     * The least time between two starts of a fetch, even after success. 5 s, less for short lives (a tenth of the
     * life), but never less than `fetchFloorMin`.
     */
    public var fetchFloor: Duration? by time("fetch_floor")

    /** [fetchFloor], for Java. */
    public fun setFetchFloor(time: java.time.Duration?) {
        fetchFloor = time?.toKotlinDuration()
    }

    /** The floor of the floor. 1 s: short-lived tokens must not spin. */
    public var fetchFloorMin: Duration? by time("fetch_floor_min")

    /** [fetchFloorMin], for Java. */
    public fun setFetchFloorMin(time: java.time.Duration?) {
        fetchFloorMin = time?.toKotlinDuration()
    }

    /** First delay after a failed fetch; it doubles, with full jitter. 1 s. */
    public var backoffMin: Duration? by time("backoff_min")

    /** [backoffMin], for Java. */
    public fun setBackoffMin(time: java.time.Duration?) {
        backoffMin = time?.toKotlinDuration()
    }

    /** The longest such delay. 60 s: peers use 5 s to 10 min. */
    public var backoffMax: Duration? by time("backoff_max")

    /** [backoffMax], for Java. */
    public fun setBackoffMax(time: java.time.Duration?) {
        backoffMax = time?.toKotlinDuration()
    }

    /**
     * The longest wait for the next fetch while nothing is usable, whatever the failure is called and whatever
     * `Retry-After` says. 15 s.
     */
    public var backoffMaxUrgent: Duration? by time("backoff_max_urgent")

    /** [backoffMaxUrgent], for Java. */
    public fun setBackoffMaxUrgent(time: java.time.Duration?) {
        backoffMaxUrgent = time?.toKotlinDuration()
    }

    /** A `Retry-After` is never taken as less than this. 1 s. */
    public var retryAfterMin: Duration? by time("retry_after_min")

    /** [retryAfterMin], for Java. */
    public fun setRetryAfterMin(time: java.time.Duration?) {
        retryAfterMin = time?.toKotlinDuration()
    }

    /**
     * Nor as more than this. 5 min. A fetch comes at that time or up to as much later, and at most `backoffMax`
     * later: a fleet that was told one instant must not come at it.
     */
    public var retryAfterMax: Duration? by time("retry_after_max")

    /** [retryAfterMax], for Java. */
    public fun setRetryAfterMax(time: java.time.Duration?) {
        retryAfterMax = time?.toKotlinDuration()
    }

    /** First delay after a failure that looks permanent; it doubles and never stops. 60 s. */
    public var slowRetryMin: Duration? by time("slow_retry_min")

    /** [slowRetryMin], for Java. */
    public fun setSlowRetryMin(time: java.time.Duration?) {
        slowRetryMin = time?.toKotlinDuration()
    }

    /** The longest such delay. 5 min. */
    public var slowRetryMax: Duration? by time("slow_retry_max")

    /** [slowRetryMax], for Java. */
    public fun setSlowRetryMax(time: java.time.Duration?) {
        slowRetryMax = time?.toKotlinDuration()
    }

    /** Time for one whole fetch, whatever the source is. 10 s. */
    public var fetchTimeout: Duration? by time("fetch_timeout")

    /** [fetchTimeout], for Java. */
    public fun setFetchTimeout(time: java.time.Duration?) {
        fetchTimeout = time?.toKotlinDuration()
    }

    /**
     * How old the signature of an answer may be, where answers must be signed. 1 h: clocks that nobody looks after,
     * and no more. The clock may also be slow, by 5 min.
     */
    public var signatureAge: Duration? by time("signature_age")

    /** [signatureAge], for Java. */
    public fun setSignatureAge(time: java.time.Duration?) {
        signatureAge = time?.toKotlinDuration()
    }

    /** How long a running fetch may hold up requests shortly before the end of a life. 1 s. */
    public var hardWait: Duration? by time("hard_wait")

    /** [hardWait], for Java. */
    public fun setHardWait(time: java.time.Duration?) {
        hardWait = time?.toKotlinDuration()
    }

    /** The longest that a request waits for a fetch when it has nothing else to try. 10 s. */
    public var wait: Duration? by time("wait")

    /** [wait], for Java. */
    public fun setWait(time: java.time.Duration?) {
        wait = time?.toKotlinDuration()
    }

    /**
     * The same for a key that is simply wrong: nothing that this handle held was ever accepted, and one forced
     * fetch has found nothing else. 2 s.
     */
    public var waitUnproven: Duration? by time("wait_unproven")

    /** [waitUnproven], for Java. */
    public fun setWaitUnproven(time: java.time.Duration?) {
        waitUnproven = time?.toKotlinDuration()
    }

    /**
     * How far apart a source must have given the same older answer twice before it is believed, once the API has
     * rejected all that is held. 10 s: longer than a region is wrong for a moment.
     */
    public var goBack: Duration? by time("go_back")

    /** [goBack], for Java. */
    public fun setGoBack(time: java.time.Duration?) {
        goBack = time?.toKotlinDuration()
    }

    /** Forced fetches at once. 2. */
    public var forcedBurst: Int? by whole("forced_burst")

    /** Time in which one more is earned. 5 s; Alamofire allows 5 in 30 s. */
    public var forcedEvery: Duration? by time("forced_every")

    /** [forcedEvery], for Java. */
    public fun setForcedEvery(time: java.time.Duration?) {
        forcedEvery = time?.toKotlinDuration()
    }

    /**
     * Delays between probes of a candidate that was rejected; the last one repeats. 1, 2, 4, 8, 15, 30 s:
     * propagation takes 15 s to minutes.
     */
    public var probeDelays: List<Duration>? by times("probe_delays")

    /** How long one probe may hold the slot. 5 s. */
    public var probeTimeout: Duration? by time("probe_timeout")

    /** [probeTimeout], for Java. */
    public fun setProbeTimeout(time: java.time.Duration?) {
        probeTimeout = time?.toKotlinDuration()
    }

    /** When to probe again after an answer that said nothing about the credential. 1 s. */
    public var probeAgain: Duration? by time("probe_again")

    /** [probeAgain], for Java. */
    public fun setProbeAgain(time: java.time.Duration?) {
        probeAgain = time?.toKotlinDuration()
    }

    /** When a candidate is used unproven if nobody reports what the API says. 60 s. */
    public var probeUnreported: Duration? by time("probe_unreported")

    /** [probeUnreported], for Java. */
    public fun setProbeUnreported(time: java.time.Duration?) {
        probeUnreported = time?.toKotlinDuration()
    }

    /** The least life a credential must have left to stay in use while its successor is proven. 30 s. */
    public var keepInUse: Duration? by time("keep_in_use")

    /** [keepInUse], for Java. */
    public fun setKeepInUse(time: java.time.Duration?) {
        keepInUse = time?.toKotlinDuration()
    }

    /** How long before its end a credential whose successor is still rejected is given up. 10 s. */
    public var giveUp: Duration? by time("give_up")

    /** [giveUp], for Java. */
    public fun setGiveUp(time: java.time.Duration?) {
        giveUp = time?.toKotlinDuration()
    }

    /** Time between two episodes of one rejected credential; it doubles. 30 s. */
    public var episode: Duration? by time("episode")

    /** [episode], for Java. */
    public fun setEpisode(time: java.time.Duration?) {
        episode = time?.toKotlinDuration()
    }

    /** The longest such time. 5 min: no storm, no silence. */
    public var episodeMax: Duration? by time("episode_max")

    /** [episodeMax], for Java. */
    public fun setEpisodeMax(time: java.time.Duration?) {
        episodeMax = time?.toKotlinDuration()
    }

    /** How long after a swap, or after the first rejection, replicas may still disagree. 60 s. */
    public var rotationWindow: Duration? by time("rotation_window")

    /** [rotationWindow], for Java. */
    public fun setRotationWindow(time: java.time.Duration?) {
        rotationWindow = time?.toKotlinDuration()
    }

    /** The pause before a credential is tried a second time. 200 ms, give or take half of it. */
    public var rotationPause: Duration? by time("rotation_pause")

    /** [rotationPause], for Java. */
    public fun setRotationPause(time: java.time.Duration?) {
        rotationPause = time?.toKotlinDuration()
    }

    /** How long a previous credential is kept if the source says nothing. 10 min. */
    public var previousGrace: Duration? by time("previous_grace")

    /** [previousGrace], for Java. */
    public fun setPreviousGrace(time: java.time.Duration?) {
        previousGrace = time?.toKotlinDuration()
    }

    /**
     * How far past its end a credential is used while the source cannot be reached: at most this, and at most its
     * own life. 15 min. Zero is strict.
     */
    public var staleGrace: Duration? by time("stale_grace")

    /** [staleGrace], for Java. */
    public fun setStaleGrace(time: java.time.Duration?) {
        staleGrace = time?.toKotlinDuration()
    }

    /** Everything is looked at again at least this often, whatever the timers say. 30 s. */
    public var wake: Duration? by time("wake")

    /** [wake], for Java. */
    public fun setWake(time: java.time.Duration?) {
        wake = time?.toKotlinDuration()
    }

    /** How long a credential other than the newest may be in use before that is told. 60 s. */
    public var lagging: Duration? by time("lagging")

    /** [lagging], for Java. */
    public fun setLagging(time: java.time.Duration?) {
        lagging = time?.toKotlinDuration()
    }

    /**
     * For how long a report of the credentials in use holds; it is renewed each third of that. 900 s: the
     * protocol's. Zero reports nothing.
     */
    public var lease: Duration? by time("lease")

    /** [lease], for Java. */
    public fun setLease(time: java.time.Duration?) {
        lease = time?.toKotlinDuration()
    }

    /**
     * How long after a credential was last handed out no request carries it any more. 30 s: the time that `Client`
     * gives a request.
     */
    public var drain: Duration? by time("drain")

    /** [drain], for Java. */
    public fun setDrain(time: java.time.Duration?) {
        drain = time?.toKotlinDuration()
    }
    // end of policy

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

    private fun times(name: String) = property<List<Duration>>(name) { all ->
        all.joinToString(",", "[", "]") { it.toDouble(SECONDS).toString() }
    }

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
