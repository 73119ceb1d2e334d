package dev.keyswap.shrunk

import com.android.tools.r8.R8
import com.android.tools.r8.R8Command
import com.android.tools.r8.origin.Origin
import dev.keyswap.ROOT
import dev.keyswap.World
import java.io.File
import java.util.concurrent.TimeUnit
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import java.util.zip.ZipOutputStream
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** R8, with the rules that the AAR brings, over all that an app has; and then what it leaves, as a program. */
class ShrunkTest {
    private val target = File(ROOT, "bindings/kotlin/android/target")
    private val shrunk = File(target, "shrunk.jar")

    @Test
    fun `what a shrinker leaves works`() {
        shrink()
        val left = entries(shrunk).filter { it.endsWith(".class") }
        assertTrue("names are shortened", "dev/keyswap/KeySwap.class" !in left)
        assertTrue("the rest is gone: ${left.size} classes", left.size * 2 < program().sumOf { classes(it) })

        World.start().use { world ->
            val said = run(world)
            assertEquals(
                listOf("200 with k1", "cut", "200 with k2", "generation 2", "its-key of Credential(own)", "bootstrap_rejected 401", "logged true"),
                said,
            )
            assertEquals(0, world.count("leaks"))
        }
    }

    private fun shrink() {
        val rules = program().filter(File::isFile).flatMap(::rulesIn) + listOf(
            File(ROOT, "bindings/kotlin/android/consumer-rules.pro"),
            // As the Android plugin has it of the manifest.
            File(target, "app.pro").apply { writeText(APP) },
        )
        val words = listOf("--classfile", "--release", "--output", shrunk.path) +
            listOf("--lib", System.getProperty("java.home"), "--lib", android().path) +
            rules.flatMap { listOf("--pg-conf", it.path) } +
            program().flatMap { if (it.isDirectory) it.walk().filter { file -> file.extension == "class" }.toList() else listOf(it) }
                .map(File::getPath)
        R8.run(R8Command.parse(words.toTypedArray(), Origin.root()).build())
    }

    /** What the app is made of, as Gradle would give it to R8. */
    private fun program(): List<File> {
        val all = System.getProperty("java.class.path").split(File.pathSeparator).map(::File)
        val parts = listOf("keyswap-", "kotlin-stdlib-", "kotlinx-coroutines-", "okhttp-jvm-", "okio-jvm-", "jna-", "annotations-")
        val jars = all.filter { jar -> "robolectric" !in jar.path && parts.any(jar.name::startsWith) }
        return jars + File(target, "classes") + File(target, "test-classes/dev/keyswap/shrunk")
    }

    /** What the app needs of Android: R8 reads all that it is given, and the whole takes it minutes. */
    private fun android(): File {
        val needed = Regex("android/(annotation|app|content|graphics|net|os|security|util|view|widget)/[^/]+\\.class")
        val part = File(target, "android.jar")
        ZipFile(System.getProperty("keyswap.android")).use { all ->
            ZipOutputStream(part.outputStream().buffered()).use { zip ->
                for (entry in all.entries().asSequence().filter { needed.matches(it.name) }) {
                    zip.putNextEntry(ZipEntry(entry.name))
                    all.getInputStream(entry).use { it.copyTo(zip) }
                }
            }
        }
        return part
    }

    /** The rules that a library brings for whoever shrinks it. */
    private fun rulesIn(jar: File): List<File> = ZipFile(jar).use { zip ->
        val found = zip.entries().asSequence().filter { it.name.startsWith("META-INF/proguard/") && !it.isDirectory }
        found.map { entry ->
            val rules = File(target, "${jar.name}.${File(entry.name).name}")
            rules.apply { writeBytes(zip.getInputStream(entry).readBytes()) }
        }.toList()
    }

    private fun run(world: World): List<String> {
        val natives = System.getProperty("jna.library.path")
        val java = "${System.getProperty("java.home")}/bin/java"
        val program = ProcessBuilder(java, "-Djna.library.path=$natives", "-cp", shrunk.path, "dev.keyswap.shrunk.ProgramKt")
            .redirectErrorStream(true)
        program.environment() += mapOf("KEYSWAP_SET_URL" to world.setUrl, "BOOTSTRAP" to world.bootstrap, "API_URL" to world.apiUrl)
        val running = program.start()
        val said = mutableListOf<String>()
        for (line in running.inputStream.bufferedReader().lineSequence()) {
            said += line
            if (line != "cut") continue
            world.step("cut")
            running.outputStream.use { it.write("\n".toByteArray()) }
        }
        assertTrue("$said", running.waitFor(30, TimeUnit.SECONDS))
        assertEquals("$said", 0, running.exitValue())
        return said
    }

    private fun classes(part: File): Int =
        if (part.isDirectory) part.walk().count { it.extension == "class" } else entries(part).count { it.endsWith(".class") }

    private fun entries(jar: File): List<String> = ZipFile(jar).use { zip -> zip.entries().asSequence().map { it.name }.toList() }

    private companion object {
        const val APP = """
            -keep class dev.keyswap.shrunk.ProgramKt { public static void main(java.lang.String[]); }
            -keep class * extends android.app.Activity { <init>(); }
            -keep class * extends android.app.Application { <init>(); }
            # Every app has these, and more of Android than is given here.
            -dontwarn androidx.annotation.**
            -dontwarn android.**
            -dontwarn com.android.**
        """
    }
}
