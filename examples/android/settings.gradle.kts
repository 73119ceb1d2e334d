pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}
rootProject.name = "prices"
includeBuild("../../bindings/kotlin/android") {
    dependencySubstitution { substitute(module("dev.keyswap:keyswap-android")).using(project(":")) }
}
