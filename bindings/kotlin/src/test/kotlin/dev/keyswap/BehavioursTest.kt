package dev.keyswap

import io.ktor.client.content.LocalFileContent
import io.ktor.client.request.forms.FormDataContent
import io.ktor.client.request.forms.InputProvider
import io.ktor.client.request.forms.MultiPartFormDataContent
import io.ktor.client.request.forms.formData
import io.ktor.http.content.ChannelWriterContent
import io.ktor.http.content.OutputStreamContent
import io.ktor.http.parametersOf
import io.ktor.utils.io.ByteReadChannel
import io.ktor.utils.io.streams.asInput
import io.ktor.utils.io.writeFully
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.OutputStream
import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import java.util.zip.GZIPOutputStream
import kotlin.random.Random
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTimedValue
import okhttp3.CompressionInterceptor
import okhttp3.FormBody
import okhttp3.Gzip
import okhttp3.MediaType
import okhttp3.MultipartBody
import okhttp3.RequestBody
import okhttp3.RequestBody.Companion.asRequestBody
import okio.BufferedSink
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.io.TempDir

/**
 * With keyswap added, everything is as before, but for the key: what becomes of bodies and of responses, in each library
 * with its adapter and beside the library alone. The rest of the library stands in [UnchangedTest].
 */
class BehavioursTest {
    @Behaviour("a rejected response that does not end is given up")
    fun `given up`(adapter: Adapter) = inTime {
        for ((name, reject) in UNENDING) {
            // A key that is there already, or one that is fetched first.
            for (keys in listOf(rotating(), followed(OLD, NEW))) {
                RawServer { if (it.isNew) answer(200, "yes") else reject() }.use { api ->
                    adapter.keyed(keys, api).use { http ->
                        repeat(2) { nth ->
                            val (reply, took) = measureTimedValue { http.send(Ask(api.url, "POST", "text")) }
                            assertEquals(200 to "yes", reply.status to reply.text, name)
                            assertTrue(took < 2.seconds, "$name $nth: $took")
                        }
                    }
                }
                keys.close()
            }
        }
    }

    @Behaviour("a small rejection keeps its connection, and is returned if all is in vain")
    fun `kept`(adapter: Adapter) = inTime {
        for (isChunked in listOf(false, true)) {
            val told = AtomicInteger()
            RawServer {
                val body = "no ${told.incrementAndGet()}"
                if (isChunked) {
                    text("HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n$body\r\n0\r\n\r\n")
                } else {
                    answer(401, body)
                }
            }.use { api ->
                adapter.keyed(rotating(), api).use { http ->
                    val reply = http.get(api.url)
                    assertEquals(401 to "no 1", reply.status to reply.text)
                }
                val sends = api.heard.size
                assertTrue(sends > 1)
                val connections = api.connections()
                adapter.alone().use { http -> repeat(sends) { http.get(api.url) } }
                assertEquals(connections, api.heard.drop(sends).map { it.connection }.distinct().size, "the library alone")
                if (connections > 1) limited("CIO uses a connection once, unless requests are pipelined")
            }
        }
    }

    @Behaviour("a body that can be had again is sent again")
    fun `sent again`(adapter: Adapter, @TempDir folder: File) = inTime {
        val file = File(folder, "file").apply { writeText("of a file") }
        for ((name, make) in if (adapter == Adapter.OKHTTP) okhttpBodies(file) else ktorBodies(file)) {
            RawServer { answer(if (it.isNew) 200 else 401) }.use { api ->
                adapter.keyed(rotating(), api).use { assertEquals(200, it.send(Ask(api.url, "POST", make())).status, name) }
                adapter.alone().use { it.send(Ask(api.url, "POST", make())) }
                val (first, second, alone) = api.heard.map(::comparable)
                assertTrue(api.heard[0].body.isNotEmpty(), name)
                assertEquals(first, second, name)
                assertEquals(alone, first, "$name: the library alone")
            }
        }
    }

    @Behaviour("a body that can be had once is sent once")
    fun `sent once`(adapter: Adapter) = inTime {
        for ((name, make) in if (adapter == Adapter.OKHTTP) OKHTTP_STREAMS else KTOR_STREAMS) {
            RawServer { answer(401, "no") }.use { api ->
                for (http in listOf(adapter.keyed(rotating(), api), adapter.alone())) {
                    val reply = http.use { it.send(Ask(api.url, "POST", make())) }
                    assertEquals(401 to "no", reply.status to reply.text, name)
                }
                assertEquals(listOf("one part", "one part"), api.heard.map { it.body }, name)
            }
        }
    }

    @Behaviour("a classifier sees the body as the library decodes it, and the program all of it")
    fun `decoded`(adapter: Adapter) = inTime {
        // What can be compressed, and is large all the same.
        val large = Random(1).nextBytes(100_000).joinToString("") { "%02x".format(it) }
        for (tail in listOf("", large)) for ((name, setting) in decoding(adapter)) {
            RawServer {
                val body = ((if (it.isNew) OK else BAD) + tail).toByteArray()
                // Ktor leaves it to a plugin to ask, and this server does not wait for that.
                val isPacked = it["accept-encoding"]?.contains("gzip") == true || setting(null, "").unpacks
                if (isPacked) answer(200, gzip(body), headers = arrayOf("Content-Encoding" to "gzip")) else answer(200, body)
            }.use { api ->
                adapter.open(setting(null, api.url)).use { assertEquals(BAD + tail, it.get(api.url).text, "$name alone") }
                adapter.open(setting(rotating(), api.url)).use { http ->
                    assertEquals(OK + tail, http.get(api.url).text, name)
                    val parts = ByteArrayOutputStream()
                    http.stream(api.url, parts::write)
                    assertEquals(OK + tail, parts.toString(), name)
                }
            }
        }
    }

    @Behaviour("a streamed response arrives as it is sent, looked into or not")
    fun `streamed`(adapter: Adapter) = inTime {
        for (classifier in listOf(null, BY_CODE)) for (isAlone in listOf(false, true)) {
            val isHeard = CompletableFuture<Unit>()
            RawServer {
                text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n${"x".repeat(64)}\r\n")
                isHeard.get(5, TimeUnit.SECONDS)
                text("3\r\nend\r\n0\r\n\r\n")
            }.use { api ->
                val keys = if (isAlone) null else followed(OLD)
                val parts = ByteArrayOutputStream()
                adapter.open(Setting(keys, listOf(api.url), classifier = classifier)).use { http ->
                    http.stream(api.url) {
                        parts.write(it)
                        isHeard.complete(Unit)
                    }
                }
                assertEquals("x".repeat(64) + "end", parts.toString())
            }
        }
    }

    @Behaviour("names of headers keep their case on HTTP/1.1")
    fun `case`(adapter: Adapter) = inTime {
        RawServer { answer() }.use { api ->
            val signing = Scheme.signing { _, _ -> Signature(headers = mapOf("X-SIGN" to "1")) }
            for (setting in listOf(setting(followed(OLD), api), Setting(followed(OLD), listOf(api.url), signing), setting(null, api))) {
                adapter.open(setting).use { it.get(api.url, "X-Of-THE-Program" to "1") }
            }
            val (keyed, signed, alone) = api.heard.map { it.names }
            assertTrue("X-MEXC-APIKEY" in keyed && "X-SIGN" in signed, "$keyed $signed")
            assertTrue("X-Of-THE-Program" in alone)
            assertEquals(alone, keyed - "X-MEXC-APIKEY", "the library alone")
            assertEquals(alone, signed - "X-SIGN", "the library alone")
        }
    }
}

/** Ways in which an API says no and does not come to an end. */
private val UNENDING: Map<String, OutputStream.() -> Unit> = mapOf(
    "one that stops" to { answer(401, "short".toByteArray(), length = 100) },
    "one that is cut off" to {
        answer(401, "short".toByteArray(), length = 100)
        close()
    },
    "one that drips" to {
        answer(401, ByteArray(0), length = 1000)
        repeat(1000) {
            Thread.sleep(20)
            text("x")
        }
    },
    "one that drips chunks" to {
        text("HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n")
        repeat(1000) {
            Thread.sleep(20)
            text("1\r\nx\r\n")
        }
    },
    "one that is endless" to {
        text("HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n")
        while (true) text("1000\r\n${"x".repeat(0x1000)}\r\n")
    },
    "one that goes on until the connection ends" to { text("HTTP/1.1 401 No\r\nconnection: close\r\n\r\nit goes on until ") },
)

private fun okhttpBodies(file: File): Map<String, () -> Any> = mapOf(
    "text" to { "text" },
    "bytes" to { "bytes".toByteArray() },
    "a file" to { file.asRequestBody() },
    "a form" to { FormBody.Builder().add("a", "1").build() },
    "a form of several parts" to {
        MultipartBody.Builder("boundary").addFormDataPart("a", "1").addFormDataPart("f", "name", file.asRequestBody()).build()
    },
    "one that writes itself" to { Written(isOnce = false) },
)

private val OKHTTP_STREAMS: Map<String, () -> Any> = mapOf(
    "one that writes itself" to { Written(isOnce = true) },
)

private fun ktorBodies(file: File): Map<String, () -> Any> = mapOf(
    "text" to { "text" },
    "bytes" to { "bytes".toByteArray() },
    "text, whose progress is told" to { Watched("text") },
    "a file" to { LocalFileContent(file) },
    "a form" to { FormDataContent(parametersOf("a", "1")) },
    "a form of several parts" to {
        val parts = formData {
            append("a", "1")
            append("f", InputProvider { file.inputStream().asInput() })
        }
        MultiPartFormDataContent(parts, boundary = "boundary")
    },
    "one that writes itself" to { ChannelWriterContent({ writeFully("written".toByteArray()) }, null) },
    "what a converter writes" to { OutputStreamContent({ write("converted".toByteArray()) }, io.ktor.http.ContentType.Text.Plain) },
)

private val KTOR_STREAMS: Map<String, () -> Any> = mapOf(
    "a channel" to { ByteReadChannel("one part") },
    "a stream" to { "one part".byteInputStream() },
)

private class Written(private val isOnce: Boolean) : RequestBody() {
    override fun contentType(): MediaType? = null

    override fun isOneShot(): Boolean = isOnce

    override fun writeTo(sink: BufferedSink) {
        sink.writeUtf8("one part")
    }
}

private const val OK = """{"code": "ok"}"""
private const val BAD = """{"code": "bad_key"}"""

private val BY_CODE = Classifier(setOf(200), bodyLimit = 64) {
    val body = it.body ?: return@Classifier Verdict.NEED_BODY
    if ("bad_key" in body.decodeToString()) Verdict.REJECTED else Verdict.ACCEPTED
}

/** The ways in which a program lets its library unpack bodies. */
private fun decoding(adapter: Adapter): Map<String, (KeySwap?, String) -> Setting> {
    fun plain(keys: KeySwap?, url: String) = Setting(keys, listOf(url), classifier = BY_CODE)
    val packed = CompressionInterceptor(Gzip)
    return when (adapter) {
        Adapter.OKHTTP -> mapOf(
            "by itself" to ::plain,
            "an interceptor" to { keys, url -> Setting(keys, listOf(url), classifier = BY_CODE, before = { addInterceptor(packed) }) },
        )
        Adapter.KTOR -> mapOf(
            "nothing" to ::plain,
            "a plugin" to { keys, url -> Setting(keys, listOf(url), classifier = BY_CODE, unpacks = true) },
        )
    }
}

private fun gzip(plain: ByteArray): ByteArray =
    ByteArrayOutputStream().also { packed -> GZIPOutputStream(packed).use { it.write(plain) } }.toByteArray()

/** What was sent, but for what differs from one send to the next. */
private fun comparable(heard: Heard): List<Any> =
    listOf(heard.line, heard.fields.filter { (name) -> name != "X-MEXC-APIKEY" && name != "Host" }, heard.body)

private fun RawServer.connections(): Int = heard.map { it.connection }.distinct().size
