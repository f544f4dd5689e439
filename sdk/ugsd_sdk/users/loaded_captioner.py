"""What a captioner has loaded: models, an endpoint, and the pipelines of its users."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ugsd_sdk.drafter import Drafter
from ugsd_sdk.pipeline import CaptionPipeline
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.settings.config import ANONYMOUS, Settings
from ugsd_sdk.users.models import Models
from ugsd_sdk.users.user_pipelines import UserPipelines

if TYPE_CHECKING:
    from ugsd_sdk.connection.endpoints import EmbeddedEndpoint, PinnedEndpoint
    from ugsd_sdk.connection.session import PairIdentity
    from ugsd_sdk.connection.verifier_connection import VerifierConnection
    from ugsd_sdk.home import UserEgress

__all__ = ["LoadedCaptioner"]


class LoadedCaptioner:
    """What a captioner has loaded: the models, and the pipelines of its users."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        endpoint: PinnedEndpoint | EmbeddedEndpoint | None,
    ) -> None:
        self.settings = settings
        self.load_s = 0.0
        self.pipelines = UserPipelines(self._new_pipeline)
        self.models = models
        self._endpoint = endpoint
        if endpoint is not None:
            from ugsd_sdk.connection.circuit import Circuit  # noqa: PLC0415  # heavy

            self._circuit = Circuit()

    def take_load_s(self) -> float:
        """Return how long loading took, the first time; 0 later."""
        load_s, self.load_s = self.load_s, 0.0
        return load_s

    def prewarm(self) -> None:
        """Run each model once."""
        self.models.prewarm()

    def close(self) -> None:
        """Close the pipelines when their captions have ended, then the rest."""
        self.pipelines.stop()
        with ExitStack() as closing:  # closes all of them even if one fails
            closing.callback(self.models.close)
            if self._endpoint is not None:
                closing.callback(self._endpoint.close)
            closing.callback(self.pipelines.close)

    def _new_pipeline(self, user: str) -> CaptionPipeline:
        settings, models = self.settings.for_user(user), self.models
        links = user_egress = folder = None
        if self._endpoint is not None:
            from ugsd_sdk.connection.connection_pool import (  # noqa: PLC0415  # heavy
                ConnectionPool,
            )
            from ugsd_sdk.home import Home, UserEgress  # noqa: PLC0415  # heavy

            home = Home.from_path(settings.home)
            user_egress = UserEgress(
                home, settings.limits_for(), user, sigma=settings.sigma, audit=settings.audit
            )
            links = ConnectionPool(
                lambda: self._new_connection(user_egress, settings),
                size=settings.verifier.connections_per_user,
            )
            folder = home.profiles if settings.keep_profile else None
        encoder = models.drafter.info.profile_encoder
        return CaptionPipeline(
            settings=settings,
            drafter=models.drafter,
            uncertainty=models.uncertainty,
            policy=models.policy_for(settings),
            links=links,
            user_egress=user_egress,
            user_profile=None if user == ANONYMOUS else UserProfile.of(user, encoder, folder),
            detector=models.detector,
            meter=models.meter,
            is_paced=settings.budget_pacing and models.given_policy is None,
        )

    def _new_connection(self, user_egress: UserEgress, settings: Settings) -> VerifierConnection:
        from ugsd_sdk.connection.verifier_connection import (  # noqa: PLC0415  # heavy
            VerifierConnection,
        )

        assert self._endpoint is not None  # noqa: S101
        return VerifierConnection(
            self._endpoint,
            user_egress,
            lambda: _pair_identity(self.models.drafter),
            connect_timeout_s=settings.verifier.connect_timeout_s,
            circuit=self._circuit,
        )


def _pair_identity(drafter: Drafter) -> PairIdentity:
    from ugsd_sdk.connection.session import PairIdentity  # noqa: PLC0415  # heavy

    info = drafter.info
    return PairIdentity(info.vocabulary, info.projection, info.state_dim)
