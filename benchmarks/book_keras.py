"""DCGAN and WGAN-GP with the structure of the book's Keras code, on TensorFlow.

`image_dataset_from_directory`, a `Model` with a `train_step` of two gradient tapes, `fit`. One
forward pass of D on the fakes serves both gradients of DCGAN; WGAN-GP makes all critic steps on one
real batch. Layers and numbers are those of the other contenders. Run it where
benchmarks/requirements-book.txt is installed.
"""

from collections.abc import Callable
from typing import Any

import keras  # type: ignore[import-not-found,unused-ignore]
import tensorflow as tf  # type: ignore[import-not-found,import-untyped,unused-ignore]
from keras import layers

from benchmarks.rounds import Link, Pacer
from benchmarks.settings import Settings

Network = dict[str, Any]  # one of the config's two network sections
Metrics = dict[str, Any]
FOR_EVER = 10**9


def train_book(settings: Settings, link: Link) -> None:
    """Train in rounds, on one rank."""
    if settings.precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    config = settings.config
    g, d = config["generator"], config["discriminator"]
    size, channels = config["data"]["size"], config["data"]["channels"]
    sigmoid = config["objective"]["kind"] == "dcgan"
    networks = generator(g, size, channels), discriminator(d, size, channels, sigmoid)
    model = Dcgan(*networks, config) if sigmoid else WganGp(*networks, config)
    model.compile(adam(g), adam(d))
    library = f"keras {keras.__version__}, tensorflow {tf.__version__}"
    pacer = Pacer(link, settings.images_per_iteration, settings.warmup, library)
    stops = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: pacer.before_iteration()
    )
    images = png_batches(settings.files, settings.batch, size)
    model.fit(images, steps_per_epoch=FOR_EVER, callbacks=[stops], verbose=0)


def png_batches(folder: str, batch: int, size: int) -> Any:
    """Endless shuffled batches of the files, in [-1, 1]. All are whole, unlike the book's last."""
    files = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        color_mode="grayscale",
        image_size=(size, size),
        batch_size=None,
        shuffle=True,
        interpolation="bilinear",
        verbose=False,
    )
    scaled = files.map(lambda image: (tf.cast(image, "float32") - 127.5) / 127.5)
    return scaled.repeat().batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def adam(network: Network) -> Any:
    beta_1, beta_2 = network["betas"]
    return keras.optimizers.Adam(network["learning_rate"], beta_1, beta_2, network["adam_epsilon"])


def widths_of(network: Network, size: int) -> list[int]:
    """Channels from the full image to 4x4."""
    strided = size.bit_length() - 3
    return [network["width"] * min(2**i, 8) for i in range(strided)]


def slopes_of(network: Network, count: int) -> list[float]:
    slope = network["slope"]
    return list(slope) if isinstance(slope, list | tuple) else [slope] * count


def initializer(network: Network) -> Any:
    if network["init"] == "glorot":
        return keras.initializers.GlorotUniform()
    return keras.initializers.RandomNormal(0.0, 0.02)


def normalised(x: Any, network: Network) -> Any:
    if network["norm"] == "batch":
        momentum = 1.0 - network["norm_momentum"]
        return layers.BatchNormalization(momentum=momentum, epsilon=network["norm_epsilon"])(x)
    if network["norm"] == "layer":
        return layers.GroupNormalization(1, epsilon=network["norm_epsilon"])(x)
    return x


def generator(network: Network, size: int, channels: int) -> Any:
    """Latents (N, latent_size) to images (N, size, size, channels)."""

    def grow(x: Any, width: int, kernel: int, strides: int, padding: str, bias: bool) -> Any:
        return layers.Conv2DTranspose(
            width,
            kernel,
            strides,
            padding,
            use_bias=bias,
            kernel_initializer=initializer(network),
        )(x)

    widths = widths_of(network, size)[::-1]
    slopes = slopes_of(network, len(widths))
    bias, kernel = network["bias"], network["kernel"]
    inputs = layers.Input((network["latent_size"],))
    x = layers.Reshape((1, 1, network["latent_size"]))(inputs)
    for i, (width, slope) in enumerate(zip(widths, slopes, strict=True)):
        first = i == 0
        x = (
            grow(x, width, 4, 1, "valid", bias)
            if first
            else grow(x, width, kernel, 2, "same", bias)
        )
        x = normalised(x, network)
        x = layers.LeakyReLU(negative_slope=slope)(x)
    x = grow(x, channels, kernel, 2, "same", network["output_bias"])
    return keras.Model(inputs, layers.Activation("tanh", dtype="float32")(x))


def discriminator(network: Network, size: int, channels: int, sigmoid: bool) -> Any:
    """Images (N, size, size, channels) to a probability, or a score, each."""

    def convolved(x: Any, width: int, kernel: int, strides: int, padding: str) -> Any:
        return layers.Conv2D(
            width,
            kernel,
            strides,
            padding,
            use_bias=network["bias"],
            kernel_initializer=initializer(network),
        )(x)

    widths = widths_of(network, size)
    inputs = x = layers.Input((size, size, channels))
    for i, (width, slope) in enumerate(zip(widths, slopes_of(network, len(widths)), strict=True)):
        x = convolved(x, width, network["kernel"], 2, "same")
        if i > 0:
            x = normalised(x, network)
        x = layers.LeakyReLU(negative_slope=slope)(x)
        if network["dropout"] and (i > 0 or network["dropout_first"]):
            x = layers.Dropout(network["dropout"])(x)
    x = layers.Flatten()(convolved(x, 1, 4, 1, "valid"))
    last = layers.Activation("sigmoid" if sigmoid else "linear", dtype="float32")
    return keras.Model(inputs, last(x))


class Gan(keras.Model):  # type: ignore[misc,unused-ignore]
    """What both have: networks, optimizers, metrics."""

    means: tuple[str, ...] = ()

    def __init__(self, generator: Any, discriminator: Any, config: dict[str, Any]) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.config = config
        self.latent_size = config["generator"]["latent_size"]

    def compile(self, g_optimizer: Any, d_optimizer: Any) -> None:
        super().compile()
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.of_losses = {name: keras.metrics.Mean(name=name) for name in self.means}

    @property
    def metrics(self) -> list[Any]:
        return list(self.of_losses.values())

    def latents(self, real: Any) -> Any:
        return tf.random.normal((tf.shape(real)[0], self.latent_size))

    def note(self, **values: Any) -> Metrics:
        for name, value in values.items():
            self.of_losses[name].update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


class Dcgan(Gan):
    """Cross-entropy of probabilities, with the book's label noise."""

    means = ("d_loss", "g_loss")

    def compile(self, g_optimizer: Any, d_optimizer: Any) -> None:
        super().compile(g_optimizer, d_optimizer)
        self.loss_fn = keras.losses.BinaryCrossentropy()
        names = ("d_real_acc", "d_fake_acc", "d_acc", "g_acc")
        self.accuracies = {name: keras.metrics.BinaryAccuracy(name=name) for name in names}

    @property
    def metrics(self) -> list[Any]:
        return [*self.of_losses.values(), *self.accuracies.values()]

    def train_step(self, real: Any) -> Metrics:
        noise = self.config["objective"]["label_noise"]
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            fake = self.generator(self.latents(real), training=True)
            on_real = self.discriminator(real, training=True)
            on_fake = self.discriminator(fake, training=True)
            ones, zeros = tf.ones_like(on_real), tf.zeros_like(on_fake)
            noisy_ones = ones + noise * tf.random.uniform(tf.shape(on_real))
            noisy_zeros = zeros - noise * tf.random.uniform(tf.shape(on_fake))
            losses = self.loss_fn(noisy_ones, on_real), self.loss_fn(noisy_zeros, on_fake)
            d_loss = (losses[0] + losses[1]) / 2.0
            g_loss = self.loss_fn(ones, on_fake)
        apply(d_tape, d_loss, self.discriminator, self.d_optimizer)
        apply(g_tape, g_loss, self.generator, self.g_optimizer)
        self.accuracies["d_real_acc"].update_state(ones, on_real)
        self.accuracies["d_fake_acc"].update_state(zeros, on_fake)
        self.accuracies["g_acc"].update_state(ones, on_fake)
        labels, judged = tf.concat([ones, zeros], 0), tf.concat([on_real, on_fake], 0)
        self.accuracies["d_acc"].update_state(labels, judged)
        return self.note(d_loss=d_loss, g_loss=g_loss)


class WganGp(Gan):
    """All critic steps on one real batch, then one of the generator."""

    means = ("c_loss", "c_wass_loss", "c_gp", "g_loss")

    def train_step(self, real: Any) -> Metrics:
        objective = self.config["objective"]
        for _ in range(objective["n_critic"]):
            with tf.GradientTape() as tape:
                fake = self.generator(self.latents(real), training=True)
                on_fake = self.discriminator(fake, training=True)
                on_real = self.discriminator(real, training=True)
                distance = tf.reduce_mean(on_fake) - tf.reduce_mean(on_real)
                penalty = self.gradient_penalty(real, fake)
                c_loss = distance + objective["penalty_weight"] * penalty
            apply(tape, c_loss, self.discriminator, self.d_optimizer)
        with tf.GradientTape() as tape:
            fake = self.generator(self.latents(real), training=True)
            g_loss = -tf.reduce_mean(self.discriminator(fake, training=True))
        apply(tape, g_loss, self.generator, self.g_optimizer)
        return self.note(c_loss=c_loss, c_wass_loss=distance, c_gp=penalty, g_loss=g_loss)

    def gradient_penalty(self, real: Any, fake: Any) -> Any:
        draw: Callable[..., Any] = tf.random.uniform
        if self.config["objective"]["penalty_mix"] == "normal":
            draw = tf.random.normal
        epsilon = draw((tf.shape(real)[0], 1, 1, 1))
        mixed = real + epsilon * (fake - real)
        with tf.GradientTape() as tape:
            tape.watch(mixed)
            scores = self.discriminator(mixed, training=True)
        gradient = tape.gradient(scores, mixed)
        norm = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3]))
        return tf.reduce_mean((norm - 1.0) ** 2)


def apply(tape: Any, loss: Any, network: Any, optimizer: Any) -> None:
    """One step of an optimizer."""
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
