import Dispatch
import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif
#if canImport(FoundationXML)
import FoundationXML
#endif

/// Each public name of the package, without its module: a program that imports Foundation need not qualify any. This
/// file does not compile where one is ambiguous.
private let publicNames: [String: Any.Type] = [
    "Attempt": Attempt.self, "Authorizer": Authorizer.self, "Classifier": Classifier.self, "Client": Client.self,
    "Credential": Credential.self, "CredentialSet": CredentialSet.self, "Document": Document.self, "Event": Event.self,
    "KeySwap": KeySwap.self, "KeyswapError": KeyswapError.self, "Log": Log.self, "NextHop": NextHop.self,
    "Patch": Patch.self, "Policy": Policy.self, "Prepared": Prepared.self, "ResponseBytes": ResponseBytes.self,
    "Scheme": Scheme.self, "SecretStorage": (any SecretStorage).self, "Sign": Sign.self, "Signature": Signature.self,
    "Source": Source.self, "Stats": Stats.self, "UnsignedRequest": UnsignedRequest.self, "Verdict": Verdict.self,
]
/// These are for Apple's platforms alone.
private let elsewhere: Set<String> = ["Keychain"]

/// What a reader finds of the package.
final class NamesTests: XCTestCase {
    private let folder = tests.deletingLastPathComponent().appendingPathComponent("bindings/swift/Sources/Keyswap")

    private func sources() throws -> [(name: String, lines: [String])] {
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".swift") }
        return try files.sorted().map { name in
            let text = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
            return (name, text.components(separatedBy: "\n"))
        }
    }

    private static let kinds = ["struct", "class", "enum", "protocol", "typealias", "actor"]

    func testNoNameCollidesWithThoseOfFoundation() throws {
        let declared = try sources().flatMap(\.lines).compactMap { line -> String? in
            let words = line.components(separatedBy: " ")
            guard words.first == "public", let at = words.firstIndex(where: NamesTests.kinds.contains) else { return nil }
            return String(words[at + 1].prefix { $0.isLetter || $0.isNumber })
        }
        XCTAssertEqual(Set(declared), Set(publicNames.keys).union(elsewhere))
    }

    func testEachPublicNameHasAComment() throws {
        var missing: [String] = []
        for (name, lines) in try sources() {
            var isPublicEnum = false
            for (nth, line) in lines.enumerated() {
                let rest = line.trimmingCharacters(in: .whitespaces)
                if rest.contains("enum ") && rest.hasSuffix("{") { isPublicEnum = rest.hasPrefix("public") }
                let isCase = isPublicEnum && rest.hasPrefix("case ") && !rest.contains(":")
                guard rest.hasPrefix("public ") && !rest.hasPrefix("public extension") || isCase else { continue }
                let before = lines[..<nth].last { !$0.trimmingCharacters(in: .whitespaces).hasPrefix("@") } ?? ""
                if !before.trimmingCharacters(in: .whitespaces).hasPrefix("///") { missing.append("\(name): \(rest)") }
            }
        }
        XCTAssertEqual(missing, [])
    }

    func testEachLinkOfTheCatalogueLeadsToAName() throws {
        let page = try String(contentsOf: folder.appendingPathComponent("Keyswap.docc/Keyswap.md"), encoding: .utf8)
        let topics = page.components(separatedBy: "\n").filter { $0.hasPrefix("- ``") }
        XCTAssertEqual(Set(topics.map { String($0.dropFirst(4).dropLast(2)) }), Set(publicNames.keys).union(elsewhere), "all of them, and no other")
    }
}
