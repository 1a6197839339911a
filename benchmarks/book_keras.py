"""DCGAN and WGAN-GP with the structure of the book's Keras code, on TensorFlow.

`image_dataset_from_directory`, a `Model` whose `train_step` uses two gradient tapes, and `fit`. One
forward pass of D on the fakes serves both gradients of DCGAN; WGAN-GP makes all critic steps on one
real batch. Layers and hyperparameters are the same as in the other implementations. Needs
benchmarks/requirements-book.txt.
"""

from collections.abc import Callable
from typing import Any

import keras  # type: ignore[import-not-found,unused-ignore]
import tensorflow as tf  # type: ignore[import-not-found,import-untyped,unused-ignore]
from keras import layers

from benchmarks.pacing import Channel, Pacer
from benchmarks.settings import Settings

NetworkConfig = dict[str, Any]  # the generator or discriminator section of the config
Metrics = dict[str, Any]
_ENDLESS = 10**9


def train_book(settings: Settings, channel: Channel) -> None:
    """Train in rounds, on one rank."""
    if settings.precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    config = settings.config
    g, d = config["generator"], config["discriminator"]
    size, channels = config["data"]["size"], config["data"]["channels"]
    sigmoid = config["objective"]["kind"] == "dcgan"
    networks = build_generator(g, size, channels), build_discriminator(d, size, channels, sigmoid)
    model = Dcgan(*networks, config) if sigmoid else WganGp(*networks, config)
    model.compile(_adam(g), _adam(d))
    library = f"keras {keras.__version__}, tensorflow {tf.__version__}"
    pacer = Pacer(channel, settings.images_per_iteration, settings.warmup, library)
    pause = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: pacer.before_iteration()
    )
    images = png_batches(settings.files, settings.batch, size)
    model.fit(images, steps_per_epoch=_ENDLESS, callbacks=[pause], verbose=0)


def png_batches(folder: str, batch: int, size: int) -> Any:
    """Return endless shuffled batches of the files, float32 (batch, size, size, 1) in [-1, 1].

    All batches are full, unlike the last one of an epoch in the book.
    """
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


def _adam(config: NetworkConfig) -> Any:
    beta_1, beta_2 = config["betas"]
    return keras.optimizers.Adam(config["learning_rate"], beta_1, beta_2, config["adam_epsilon"])


def _widths(config: NetworkConfig, size: int) -> list[int]:
    """Return the channels of each layer of D, from the full image to 4x4."""
    strided = size.bit_length() - 3
    return [config["width"] * min(2**i, 8) for i in range(strided)]


def _slopes(config: NetworkConfig, count: int) -> list[float]:
    slope = config["slope"]
    return list(slope) if isinstance(slope, list | tuple) else [slope] * count


def _initializer(config: NetworkConfig) -> Any:
    if config["init"] == "glorot":
        return keras.initializers.GlorotUniform()
    return keras.initializers.RandomNormal(0.0, 0.02)


def _normalize(x: Any, config: NetworkConfig) -> Any:
    if config["norm"] == "batch":
        momentum = 1.0 - config["norm_momentum"]
        return layers.BatchNormalization(momentum=momentum, epsilon=config["norm_epsilon"])(x)
    if config["norm"] == "layer":
        return layers.GroupNormalization(1, epsilon=config["norm_epsilon"])(x)
    return x


def build_generator(config: NetworkConfig, size: int, channels: int) -> Any:
    """Return a network from latents (N, latent_size) to images (N, size, size, channels)."""

    def upsample(x: Any, width: int, kernel: int, strides: int, padding: str, bias: bool) -> Any:
        return layers.Conv2DTranspose(
            width,
            kernel,
            strides,
            padding,
            use_bias=bias,
            kernel_initializer=_initializer(config),
        )(x)

    widths = _widths(config, size)[::-1]
    slopes = _slopes(config, len(widths))
    bias, kernel = config["bias"], config["kernel"]
    inputs = layers.Input((config["latent_size"],))
    x = layers.Reshape((1, 1, config["latent_size"]))(inputs)
    for i, (width, slope) in enumerate(zip(widths, slopes, strict=True)):
        if i == 0:
            x = upsample(x, width, 4, 1, "valid", bias)
        else:
            x = upsample(x, width, kernel, 2, "same", bias)
        x = _normalize(x, config)
        x = layers.LeakyReLU(negative_slope=slope)(x)
    x = upsample(x, channels, kernel, 2, "same", config["output_bias"])
    return keras.Model(inputs, layers.Activation("tanh", dtype="float32")(x))


def build_discriminator(config: NetworkConfig, size: int, channels: int, sigmoid: bool) -> Any:
    """Return a network from images (N, size, size, channels) to probabilities or scores (N, 1)."""

    def convolve(x: Any, width: int, kernel: int, strides: int, padding: str) -> Any:
        return layers.Conv2D(
            width,
            kernel,
            strides,
            padding,
            use_bias=config["bias"],
            kernel_initializer=_initializer(config),
        )(x)

    widths = _widths(config, size)
    inputs = x = layers.Input((size, size, channels))
    for i, (width, slope) in enumerate(zip(widths, _slopes(config, len(widths)), strict=True)):
        x = convolve(x, width, config["kernel"], 2, "same")
        if i > 0:
            x = _normalize(x, config)
        x = layers.LeakyReLU(negative_slope=slope)(x)
        if config["dropout"] and (i > 0 or config["dropout_first"]):
            x = layers.Dropout(config["dropout"])(x)
    x = layers.Flatten()(convolve(x, 1, 4, 1, "valid"))
    output = layers.Activation("sigmoid" if sigmoid else "linear", dtype="float32")
    return keras.Model(inputs, output(x))


class Gan(keras.Model):  # type: ignore[misc,unused-ignore]
    """Networks, optimizers and metrics. loss_names: metrics that are averaged over an epoch."""

    loss_names: tuple[str, ...] = ()

    def __init__(self, generator: Any, discriminator: Any, config: dict[str, Any]) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.config = config
        self.latent_size = config["generator"]["latent_size"]

    def compile(self, g_optimizer: Any, d_optimizer: Any) -> None:
        super().compile()
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.loss_metrics = {name: keras.metrics.Mean(name=name) for name in self.loss_names}

    @property
    def metrics(self) -> list[Any]:
        return list(self.loss_metrics.values())

    def latents(self, real: Any) -> Any:
        """Return random latents, as many as real images."""
        return tf.random.normal((tf.shape(real)[0], self.latent_size))

    def update_losses(self, **values: Any) -> Metrics:
        """Add to the metrics of the losses and return all metrics."""
        for name, value in values.items():
            self.loss_metrics[name].update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


class Dcgan(Gan):
    """Cross-entropy of probabilities, with the book's label noise."""

    loss_names = ("d_loss", "g_loss")

    def compile(self, g_optimizer: Any, d_optimizer: Any) -> None:
        super().compile(g_optimizer, d_optimizer)
        self.loss_fn = keras.losses.BinaryCrossentropy()
        names = ("d_real_acc", "d_fake_acc", "d_acc", "g_acc")
        self.accuracies = {name: keras.metrics.BinaryAccuracy(name=name) for name in names}

    @property
    def metrics(self) -> list[Any]:
        return [*self.loss_metrics.values(), *self.accuracies.values()]

    def train_step(self, real: Any) -> Metrics:
        noise = self.config["objective"]["label_noise"]
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            fake = self.generator(self.latents(real), training=True)
            real_scores = self.discriminator(real, training=True)
            fake_scores = self.discriminator(fake, training=True)
            ones, zeros = tf.ones_like(real_scores), tf.zeros_like(fake_scores)
            noisy_ones = ones + noise * tf.random.uniform(tf.shape(real_scores))
            noisy_zeros = zeros - noise * tf.random.uniform(tf.shape(fake_scores))
            losses = self.loss_fn(noisy_ones, real_scores), self.loss_fn(noisy_zeros, fake_scores)
            d_loss = (losses[0] + losses[1]) / 2.0
            g_loss = self.loss_fn(ones, fake_scores)
        _apply_gradients(d_tape, d_loss, self.discriminator, self.d_optimizer)
        _apply_gradients(g_tape, g_loss, self.generator, self.g_optimizer)
        self.accuracies["d_real_acc"].update_state(ones, real_scores)
        self.accuracies["d_fake_acc"].update_state(zeros, fake_scores)
        self.accuracies["g_acc"].update_state(ones, fake_scores)
        labels, predictions = tf.concat([ones, zeros], 0), tf.concat([real_scores, fake_scores], 0)
        self.accuracies["d_acc"].update_state(labels, predictions)
        return self.update_losses(d_loss=d_loss, g_loss=g_loss)


class WganGp(Gan):
    """All critic steps on one real batch, then one generator step."""

    loss_names = ("c_loss", "c_wass_loss", "c_gp", "g_loss")

    def train_step(self, real: Any) -> Metrics:
        objective = self.config["objective"]
        for _ in range(objective["n_critic"]):
            with tf.GradientTape() as tape:
                fake = self.generator(self.latents(real), training=True)
                fake_scores = self.discriminator(fake, training=True)
                real_scores = self.discriminator(real, training=True)
                distance = tf.reduce_mean(fake_scores) - tf.reduce_mean(real_scores)
                penalty = self.gradient_penalty(real, fake)
                c_loss = distance + objective["penalty_weight"] * penalty
            _apply_gradients(tape, c_loss, self.discriminator, self.d_optimizer)
        with tf.GradientTape() as tape:
            fake = self.generator(self.latents(real), training=True)
            g_loss = -tf.reduce_mean(self.discriminator(fake, training=True))
        _apply_gradients(tape, g_loss, self.generator, self.g_optimizer)
        return self.update_losses(c_loss=c_loss, c_wass_loss=distance, c_gp=penalty, g_loss=g_loss)

    def gradient_penalty(self, real: Any, fake: Any) -> Any:
        """Return the penalty (Gulrajani et al. 2017)."""
        sample: Callable[..., Any] = tf.random.uniform
        if self.config["objective"]["penalty_mix"] == "normal":
            sample = tf.random.normal
        epsilon = sample((tf.shape(real)[0], 1, 1, 1))
        mixed = real + epsilon * (fake - real)
        with tf.GradientTape() as tape:
            tape.watch(mixed)
            scores = self.discriminator(mixed, training=True)
        gradient = tape.gradient(scores, mixed)
        norm = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3]))
        return tf.reduce_mean((norm - 1.0) ** 2)


def _apply_gradients(tape: Any, loss: Any, network: Any, optimizer: Any) -> None:
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
