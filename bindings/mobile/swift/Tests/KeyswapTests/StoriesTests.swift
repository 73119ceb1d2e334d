import Foundation
import XCTest

/// Every story of `tests/scenarios`, with the counts that every language must come to.
final class StoriesTests: XCTestCase {
    /// Most of a story is waiting, but its times must be kept.
    private static let atOnce = 4
    /// How many may be late among others, on a machine that has other work.
    private static let mostAlone = 2

    func testEveryStory() async throws {
        let leftOut = try notRun("swift")
        XCTAssert(leftOut.values.allSatisfy { !$0.isEmpty }, "each has a reason")
        let played = try names().filter { leftOut[$0] == nil }
        XCTAssertGreaterThan(played.count, 70)
        var late: [String] = []
        var failed: [String] = []
        await withTaskGroup(of: (String, String?).self) { group in
            var rest = played[...]
            for name in rest.prefix(Self.atOnce) { group.addTask { await Self.complaint(name) } }
            rest = rest.dropFirst(Self.atOnce)
            for await (name, complaint) in group {
                if let complaint {
                    print("among others: \(name): \(complaint)")
                    late.append(name)
                }
                if let next = rest.popFirst() { group.addTask { await Self.complaint(next) } }
            }
        }
        // The machine may have been late. A rule that is broken is broken in quiet, too.
        for name in late {
            if late.count > Self.mostAlone {
                failed.append("\(name): too many come out only alone")
            } else if let complaint = await Self.complaint(name).1 {
                failed.append("\(name): \(complaint)")
            }
        }
        for complaint in failed { XCTFail(complaint) }
        print("stories: \(played.count - failed.count) passed, \(failed.count) failed")
    }

    private static func complaint(_ name: String) async -> (String, String?) {
        do {
            let world = try World()
            defer { world.stop() }
            let verdict = try await Play(world, name).run()
            let wrong =
                (verdict["mismatches"] as? [Any] ?? ["no verdict"]) + (verdict["errors"] as? [Any] ?? [])
            return (name, wrong.isEmpty ? nil : "\(wrong)\ncounted: \(verdict["counters"] ?? "")")
        } catch {
            return (name, "\(error)")
        }
    }
}
