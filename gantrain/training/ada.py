"""ADA: D's images are augmented as often as its overfitting asks for (Karras et al. 2020)."""

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.config import Config
from gantrain.config.ada import signed_scores
from gantrain.runs.checkpoint import AdaState
from gantrain.training.penalties import Metrics


class Ada:
    """Moves the probability p of an augmentation such that D's overfitting r stays at a target.

    r is the mean sign of D's scores of augmented real images, the r_t of the paper's section 3: 0
    for a D that guesses, 1 for one that recognises them all. Where only differences of scores mean
    anything (rpgan), it is that of real minus generated scores, over the pairs of the loss. Once D
    has seen `ada_every` batches, p moves by their images over `ada_kimg`: up if r is above
    `ada_target`, down if it is below. p starts at 0 and stays in [0, 1].

    Without `diffaugment_probability: ada`, nothing happens.

    probability: p, a float64 scalar on the device, equal on all ranks.
    """

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        augment = config.augment
        self._active = augment.diffaugment_probability == "ada"
        self._in_pairs = signed_scores(config.objective) == "pairs"
        self._target, self._images_to_one = augment.ada_target, 1000 * augment.ada_kimg
        self._images_per_move = augment.ada_every * config.training.batch_size
        self._accelerator = accelerator
        self.probability = torch.zeros((), dtype=torch.float64, device=accelerator.device)
        self._signs = torch.zeros_like(self.probability)
        self._images = 0

    def observe(self, real_scores: Tensor, fake_scores: Tensor) -> Metrics:
        """Note D's scores (N,) in a micro-batch of a D step; return its r as `augment/r`.

        Nothing is copied to the host. A score that is NaN counts as undecided.
        """
        if not self._active:
            return {}
        scores = real_scores.detach()
        scores = scores - fake_scores.detach() if self._in_pairs else scores
        signs = (scores > 0).double() - (scores < 0).double()  # the sign of NaN is NaN
        self._signs += signs.sum()
        return {"augment/r": signs.mean()}

    def move(self, images: int) -> None:
        """Move p if D has seen enough images since the last move, without a wait for the device.

        images: seen in the last iteration, over all ranks. A collective call, after an iteration.
        """
        self._images += images if self._active else 0
        if not self._active or self._images < self._images_per_move:
            return
        r = self._accelerator.reduce(self._signs, "sum") / self._images
        step = torch.sign(r - self._target) * (self._images / self._images_to_one)
        # The paper has no upper end: p beyond 1 would change nothing, and then come down late.
        self.probability.add_(step).clamp_(0, 1)  # in place, for CUDA graphs that read it
        self._signs.zero_()
        self._images = 0

    def curves(self) -> dict[str, float]:
        """Return what is logged beside `augment/r`. Waits for the device."""
        return {"augment/p": float(self.probability)} if self._active else {}

    def state(self) -> AdaState | None:
        """Return what a checkpoint keeps. A collective call."""
        if not self._active:
            return None
        signs = self._accelerator.reduce(self._signs, "sum")
        return AdaState(p=float(self.probability), signs=int(signs), images=self._images)

    def restore(self, state: AdaState | None) -> None:
        """Continue from a state, which may be of another number of ranks; None: from p = 0."""
        state = AdaState() if state is None else state
        self.probability.fill_(state.p)
        # The sum over the ranks is what counts.
        self._signs.fill_(state.signs if self._accelerator.is_main_process else 0)
        self._images = state.images
