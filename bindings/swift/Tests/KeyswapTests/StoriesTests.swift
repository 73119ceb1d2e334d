import Foundation
import XCTest

/// Every story of `tests/scenarios`, with the counts that every language must come to.
final class StoriesTests: XCTestCase {
    /// Most of a story is waiting, but its times must be kept.
    private static let atOnce = 4
    /// Of one story, each for a reason that was measured.
    private static let mostReplays = 2

    func testEveryStory() async throws {
        let leftOut = try notRun("swift")
        XCTAssert(leftOut.values.allSatisfy { !$0.isEmpty }, "each has a reason")
        let only = ProcessInfo.processInfo.environment["KEYSWAP_STORY"]?.components(separatedBy: ",")
        let names = try names().filter { leftOut[$0] == nil && only?.contains($0) ?? true }
        if only == nil { XCTAssertGreaterThan(names.count, 70) }
        // A thousand callers leave the others no thread, and a heartbeat, which has its own, does not tell of it.
        let crowds = try names.filter { try callers($0) >= 500 }
        var failed: [Played] = []
        for name in crowds {
            let played = await Self.play(name)
            if played.complaint != nil { failed.append(played) }
        }
        await withTaskGroup(of: Played.self) { group in
            var rest = names.filter { !crowds.contains($0) }[...]
            for name in rest.prefix(Self.atOnce) { group.addTask { await Self.play(name) } }
            rest = rest.dropFirst(Self.atOnce)
            for await played in group {
                if played.complaint != nil { failed.append(played) }
                if let next = rest.popFirst() { group.addTask { await Self.play(next) } }
            }
        }
        var broken = 0
        for var played in failed {
            for _ in 0..<Self.mostReplays where played.mayBeRepeated {
                print("\(played.name), \(played.lateMs) ms late: \(played.complaint ?? "")")
                try played.note()
                played = await Self.play(played.name)
            }
            guard let complaint = played.complaint else { continue }
            broken += 1
            XCTFail("\(played.name), \(played.lateMs) ms late: \(complaint)")
        }
        print("stories: \(names.count - broken) passed, \(broken) failed")
    }

    func testOnlyAMachineThatWasLateExcusesAStory() {
        XCTAssertFalse(Played(name: "x", complaint: "it broke", lateMs: 100).mayBeRepeated)
        XCTAssertFalse(Played(name: "x", complaint: nil, lateMs: 10_000).mayBeRepeated)
        let mayReplay = ProcessInfo.processInfo.environment["KEYSWAP_NO_REPLAY"] != "1"
        XCTAssertEqual(Played(name: "x", complaint: "it broke", lateMs: 101).mayBeRepeated, mayReplay)
    }

    /// Beginning and ending a process blocks, and the threads of tasks are as many as processors: on one of them it
    /// would hold up the stories that are played at the same time.
    private static func aside<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { done in
            Thread.detachNewThread { done.resume(with: Result(catching: work)) }
        }
    }

    private static func play(_ name: String) async -> Played {
        var heartbeat = Heartbeat()
        var complaint: String?
        var running: World?
        var startedMs = 0
        do {
            let world = try await aside { try World() }
            running = world
            let play = try await Play(world, name)
            heartbeat = Heartbeat()
            let outcome = try await play.run()
            let verdict = outcome.verdict
            startedMs = outcome.startedMs
            let wrong =
                (verdict["mismatches"] as? [Any] ?? ["no verdict"]) + (verdict["errors"] as? [Any] ?? [])
            if !wrong.isEmpty { complaint = "\(wrong)\ncounted: \(verdict["counters"] ?? "")" }
        } catch {
            complaint = "\(error)"
        }
        // The start of a story may be late, too.
        let lateMs = max(heartbeat.stop(), startedMs)
        if let running { try? await aside { running.stop() } }
        return Played(name: name, complaint: complaint, lateMs: lateMs)
    }
}
