import Foundation
import KeySwapNative

/// How a credential goes onto a request.
public enum Scheme: Sendable, Equatable {
    /// A header of this name that holds the key.
    case header(String)
    /// `Authorization: Bearer`.
    case bearer
    /// `Authorization: Basic`, with the key as user and `secret` as password.
    case basic
    /// A parameter of the query. Responses and errors of `Client` show URLs without it.
    case query(String)

    var native: NativeScheme {
        switch self {
        case .header(let name): .header(name: name)
        case .bearer: .bearer
        case .basic: .basic
        case .query(let name): .query(name: name)
        }
    }
}

/// What a response says of the credential that its request carried.
public enum Verdict: Sendable {
    case accepted, rejected, throttled, other
    /// The beginning of the body would say.
    case needBody

    var native: NativeVerdict {
        switch self {
        case .accepted: .accepted
        case .rejected: .rejected
        case .throttled: .throttled
        case .other: .other
        case .needBody: .needBody
        }
    }
}

/// Judges responses, for an API that says "bad key" in a way of its own. It is shown responses with one of `statuses`,
/// the names of headers in lower case, and at most `bodyLimit` bytes of a body that it asks for.
public struct Classifier: Sendable {
    let statuses: [Int]
    let bodyLimit: Int
    let judge: @Sendable (_ status: Int, _ headers: [String: String], _ body: Data?) -> Verdict

    public init(
        statuses: [Int] = [401], bodyLimit: Int = 4096,
        judge: @escaping @Sendable (_ status: Int, _ headers: [String: String], _ body: Data?) -> Verdict
    ) {
        self.statuses = statuses
        self.bodyLimit = bodyLimit
        self.judge = judge
    }
}
