package dev.keyswap

import kotlin.properties.ReadWriteProperty
import kotlin.reflect.KProperty
import kotlin.time.Duration
import kotlin.time.DurationUnit.SECONDS

/**
 * The numbers that the core works with: `Policy { poll = 1.minutes }`. What is not set keeps its default;
 * what each means, its default and the reason for it stand in the documentation of the core's `Policy`.
 */
public class Policy(configure: Policy.() -> Unit = {}) {
    private val numbers = LinkedHashMap<String, String>()

    public var softLeadRatio: Double? by number("soft_lead_ratio")
    public var softLeadMax: Duration? by time("soft_lead_max")
    public var hardLeadRatio: Double? by number("hard_lead_ratio")
    public var hardLeadMax: Duration? by time("hard_lead_max")
    public var poll: Duration? by time("poll")
    public var pollSpread: Double? by number("poll_spread")
    public var ceiling: Duration? by time("ceiling")
    public var fetchFloor: Duration? by time("fetch_floor")
    public var fetchFloorMin: Duration? by time("fetch_floor_min")
    public var backoffMin: Duration? by time("backoff_min")
    public var backoffMax: Duration? by time("backoff_max")
    public var backoffMaxUrgent: Duration? by time("backoff_max_urgent")
    public var retryAfterMin: Duration? by time("retry_after_min")
    public var retryAfterMax: Duration? by time("retry_after_max")
    public var slowRetryMin: Duration? by time("slow_retry_min")
    public var slowRetryMax: Duration? by time("slow_retry_max")
    public var fetchTimeout: Duration? by time("fetch_timeout")
    public var signatureAge: Duration? by time("signature_age")
    public var hardWait: Duration? by time("hard_wait")
    public var wait: Duration? by time("wait")
    public var waitUnproven: Duration? by time("wait_unproven")
    public var goBack: Duration? by time("go_back")
    public var forcedBurst: Int? by whole("forced_burst")
    public var forcedEvery: Duration? by time("forced_every")
    public var probeDelays: List<Duration>? by property("probe_delays") { delays ->
        delays.joinToString(",", "[", "]") { it.toDouble(SECONDS).toString() }
    }
    public var probeTimeout: Duration? by time("probe_timeout")
    public var probeAgain: Duration? by time("probe_again")
    public var probeUnreported: Duration? by time("probe_unreported")
    public var keepInUse: Duration? by time("keep_in_use")
    public var giveUp: Duration? by time("give_up")
    public var episode: Duration? by time("episode")
    public var episodeMax: Duration? by time("episode_max")
    public var rotationWindow: Duration? by time("rotation_window")
    public var rotationPause: Duration? by time("rotation_pause")
    public var previousGrace: Duration? by time("previous_grace")
    public var staleGrace: Duration? by time("stale_grace")
    public var wake: Duration? by time("wake")
    public var lagging: Duration? by time("lagging")
    public var lease: Duration? by time("lease")
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
