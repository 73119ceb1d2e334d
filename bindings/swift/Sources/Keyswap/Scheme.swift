import Foundation
import KeySwapNative

/// How a credential goes onto a request.
public enum Scheme: Sendable {
    /// A header of this name that holds the key.
    case header(String)
    /// `Authorization: Bearer`.
    case bearer
    /// `Authorization: Basic`, with the key as user and `secret` as password.
    case basic
    /// A parameter of the query. Responses and errors of `Client` show URLs without it; servers and proxies may log it.
    case query(String)
    /// A signature of your own, for an API that wants each request signed:
    ///
    /// ```swift
    /// .sign { credential, request in
    ///     Signature(headers: ["x-signature": hmac(credential.reveal("secret"), "\(request.method) \(request.url.path)")])
    /// }
    /// ```
    case sign(Sign)

    var native: NativeSchemeOptions? {
        switch self {
        case .header(let name): NativeSchemeOptions(kind: .header, name: name)
        case .bearer: NativeSchemeOptions(kind: .bearer, name: nil)
        case .basic: NativeSchemeOptions(kind: .basic, name: nil)
        case .query(let name): NativeSchemeOptions(kind: .query, name: name)
        case .sign: nil
        }
    }

    var sign: Sign? {
        if case .sign(let sign) = self { sign } else { nil }
    }
}

/// What makes a request authentic with a credential. It is called before each send. What it throws counts as a
/// rejection of the credential, and the request goes on with the next one; if there is none, it fails with the code
/// `scheme_failed`, and nothing is sent. It is told by its type alone, since its words may quote the key.
public typealias Sign = @Sendable (_ credential: Credential, _ request: UnsignedRequest) async throws -> Signature

/// A request that is about to be sent, as a signature sees it.
public struct UnsignedRequest: Sendable, CustomStringConvertible, CustomReflectable {
    /// Its method, such as `GET`.
    public let method: String
    /// The whole URL, without what the signature adds.
    public let url: URL
    /// Those that the program gave it, with names in lower case.
    public let headers: [String: String]
    /// Nil if there is none, or if it is a stream.
    public let body: Data?
    /// The time, for signatures that carry one.
    public let now = Date()

    /// Its method.
    public var description: String { "UnsignedRequest(\(method))" }
    /// Its method alone.
    public var customMirror: Mirror { Mirror(self, children: ["method": method]) }
}

/// What a signature adds to a request. Printing it shows the names, never the values.
public struct Signature: Sendable, CustomStringConvertible, CustomReflectable {
    let headers: [String: String]
    let query: [String: String]

    /// Headers, and parameters of the query, in place of any of the same name.
    public init(headers: [String: String] = [:], query: [String: String] = [:]) {
        self.headers = headers
        self.query = query
    }

    var native: NativeSignature { NativeSignature(headers: byTurns(headers), query: byTurns(query)) }

    private var names: [String] { headers.keys.sorted() + query.keys.sorted() }
    /// The names of what it adds.
    public var description: String { "Signature(\(names.joined(separator: ", ")))" }
    /// These names alone.
    public var customMirror: Mirror { Mirror(self, children: ["names": names]) }
}

/// What a response says of the credential that its request carried.
public enum Verdict: Sendable {
    /// The API accepted it.
    case accepted
    /// The API refused it: another one is tried, if the request may be sent again.
    case rejected
    /// The API asks for fewer requests.
    case throttled
    /// It says nothing of the credential.
    case other
    /// The beginning of the body would say.
    case needBody

    fileprivate var native: NativeVerdict {
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
    private let statuses: [Int]
    private let bodyLimit: Int
    private let judge: @Sendable (_ status: Int, _ headers: [String: String], _ body: Data?) -> Verdict

    /// One that is shown responses of these statuses. It is called for each, perhaps by several tasks at once.
    public init(
        statuses: [Int] = [401], bodyLimit: Int = 4096,
        judge: @escaping @Sendable (_ status: Int, _ headers: [String: String], _ body: Data?) -> Verdict
    ) {
        self.statuses = statuses
        self.bodyLimit = bodyLimit
        self.judge = judge
    }

    var native: NativeClassifierOptions {
        NativeClassifierOptions(statuses: statuses.map(UInt16.init(clamping:)), bodyLimit: UInt32(clamping: bodyLimit))
    }

    func verdict(_ status: Int, _ headers: [String: String], _ body: Data?) -> NativeVerdict? {
        statuses.contains(status) ? judge(status, headers, body).native : nil
    }
}
