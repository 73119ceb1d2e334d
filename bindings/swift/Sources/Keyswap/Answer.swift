import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A response, and what its request carried of ours.
struct Answer: Sendable {
    let transfer: Transfer
    let response: HTTPURLResponse
    let patch: Patch
    /// Whether it may be more than the answer: a rejection, or a reason to send the request again.
    let isOfInterest: Bool

    /// The request that a redirect asks for; nil if this is the answer. Where it leads is the core's to say.
    func next(_ request: URLRequest, _ isReplayable: Bool) throws -> (URLRequest, dropsBody: Bool)? {
        guard (300..<400).contains(response.statusCode), let url = request.url,
            let location = response.value(forHTTPHeaderField: "location"),
            let hop = try patch.follow(
                method: request.httpMethod ?? "GET", url: url, isReplayable: isReplayable,
                status: response.statusCode, location: location)
        else { return nil }
        var next = request
        next.url = hop.url
        next.httpMethod = hop.method
        if hop.dropsBody {
            next.httpBodyStream = nil
            next.httpBody = nil
        }
        for name in hop.drops { next.setValue(nil, forHTTPHeaderField: name) }
        return (next, hop.dropsBody)
    }

    /// As the caller sees it: a key that went into the query is neither in its URL nor in where it leads.
    func shown(_ request: URLRequest) throws -> HTTPURLResponse {
        guard let url = request.url else { return response }
        let location = response.value(forHTTPHeaderField: "location")
        let masked = try location.flatMap { try patch.masked(url: url, location: $0) }
        guard masked != nil || response.url != url else { return response }
        var fields: [String: String] = [:]
        for (name, value) in response.allHeaderFields {
            let isLocation = "\(name)".lowercased() == "location"
            fields["\(name)"] = isLocation ? masked ?? "\(value)" : "\(value)"
        }
        let shown = HTTPURLResponse(
            url: url, statusCode: response.statusCode, httpVersion: "HTTP/1.1", headerFields: fields)
        return shown ?? response
    }

    /// Another response is the answer. A small rest is read, so that the connection is kept.
    func letGo() async {
        await transfer.settle()
        transfer.drop()
    }
}
