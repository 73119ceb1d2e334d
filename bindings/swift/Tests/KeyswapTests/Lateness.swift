import Foundation

/// How late this machine was while something ran, measured and not guessed: a thread that wants to wake every few
/// milliseconds wakes later when the machine, or this process, has no time for it.
final class Heartbeat: @unchecked Sendable {
    /// Milliseconds: a tenth of what matters.
    private static let beat = 10
    private let lock = NSLock()
    private var isOver = false
    private var worst = 0
    private var last = ContinuousClock.now

    init() {
        Thread.detachNewThread { [weak self] in
            while true {
                Thread.sleep(forTimeInterval: Double(Heartbeat.beat) / 1000)
                guard let self, self.note() else { return }
            }
        }
    }

    /// The longest gap so far, with the one that has not ended, in milliseconds. It beats no more.
    func stop() -> Int {
        lock.withLock {
            isOver = true
            return max(worst, gap())
        }
    }

    private func note() -> Bool {
        lock.withLock {
            worst = max(worst, gap())
            last = .now
            return !isOver
        }
    }

    private func gap() -> Int {
        let gone = (ContinuousClock.now - last).components
        return Int(gone.seconds * 1000 + gone.attoseconds / 1_000_000_000_000_000) - Heartbeat.beat
    }
}

/// A play of a story: what did not come out, and how late the machine was meanwhile.
struct Played: Sendable {
    /// What a story bears: see tests/scenarios/README.md.
    private static let toleranceMs = 100
    let name: String
    let complaint: String?
    let lateMs: Int

    /// Whether it may be played again: only the machine is an excuse.
    var mayBeRepeated: Bool {
        complaint != nil && lateMs > Played.toleranceMs && ProcessInfo.processInfo.environment["KEYSWAP_NO_REPLAY"] != "1"
    }

    /// Adds a replay to the list that the tests of all languages write, which KEYSWAP_REPLAYED names.
    func note() throws {
        let line: [String: Any] = [
            "through": "swift", "story": name, "late_ms": lateMs, "complaint": complaint ?? "",
        ]
        try append(line, toFileOf: "KEYSWAP_REPLAYED")
    }
}

/// Adds a line of JSON to the file that a variable of the environment names; nothing if it names none.
func append(_ line: [String: Any], toFileOf variable: String) throws {
    guard let path = ProcessInfo.processInfo.environment[variable], !path.isEmpty else { return }
    let url = URL(fileURLWithPath: path)
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    if !FileManager.default.fileExists(atPath: path) { try Data().write(to: url) }
    let file = try FileHandle(forWritingTo: url)
    defer { try? file.close() }
    try file.seekToEnd()
    try file.write(contentsOf: try JSONSerialization.data(withJSONObject: line) + Data("\n".utf8))
}
