package dev.keyswap

import com.google.gson.GsonBuilder
import java.io.File
import java.lang.reflect.Method
import org.junit.jupiter.api.extension.ExtendWith
import org.junit.jupiter.api.extension.ExtensionContext
import org.junit.jupiter.api.extension.InvocationInterceptor
import org.junit.jupiter.api.extension.ReflectiveInvocationContext
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.EnumSource

/** A row of the table, in each library: its test takes an [Adapter]. */
@Target(AnnotationTarget.FUNCTION)
@ParameterizedTest(name = "{0}")
@EnumSource(Adapter::class)
@ExtendWith(Noting::class)
annotation class Behaviour(val text: String)

/** Why the library cannot, once a test has shown that the library alone cannot either. */
fun limited(why: String) {
    Noting.limit = why
}

/** `KEYSWAP_BEHAVIOURS=FILE` writes what came of it, one line of JSON for each behaviour and adapter. */
class Noting : InvocationInterceptor {
    override fun interceptTestTemplateMethod(
        invocation: InvocationInterceptor.Invocation<Void>,
        called: ReflectiveInvocationContext<Method>,
        context: ExtensionContext,
    ) {
        limit = null
        val outcome = runCatching { invocation.proceed() }
        System.getenv("KEYSWAP_BEHAVIOURS")?.let { path ->
            val line = mapOf(
                "adapter" to called.arguments.first { it is Adapter }.toString(),
                "behaviour" to called.executable.getAnnotation(Behaviour::class.java).text,
                "outcome" to if (outcome.isSuccess) "passed" else "failed",
                "limit" to limit,
            )
            File(path).appendText(JSON.toJson(line) + "\n")
        }
        outcome.getOrThrow()
    }

    companion object {
        @Volatile var limit: String? = null
        private val JSON = GsonBuilder().serializeNulls().disableHtmlEscaping().create()
    }
}
