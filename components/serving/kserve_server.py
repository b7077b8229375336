"""KServe's ModelServer with its own bind address, readiness that means "can answer", typed errors and a drain.

This module imports kserve, which takes seconds: import it where a server is started, nowhere else.
"""

import asyncio
import logging
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from grpc import StatusCode, aio
from kserve import Model, ModelServer
from kserve.model import InferenceVerb
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer

from components.common.errors import BadSetting, NotFound, TowerlineError, Unavailable
from components.serving.errors import BadRequest
from components.serving.http_errors import add_error_handlers
from components.serving.middleware import RequestMiddleware
from components.serving.one_write import OneWriteProtocol
from components.serving.openapi import describe
from components.serving.server import check_listening
from components.serving.service import Service
from components.serving.structured_logs import log

_DECODING = (LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, struct.error)


class TowerlineServer(ModelServer):
    """One process, one event loop: KServe's REST endpoints, our routes, and gRPC when `grpc_port` is set.

    `listener` is a bound socket; `routes(app)` adds routes that go before KServe's; `on_started()` is called once
    requests are accepted.
    """

    def __init__(
        self,
        service: Service,
        listener: socket.socket,
        routes: Callable[[FastAPI], None],
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        settings = service.settings
        super().__init__(
            http_port=listener.getsockname()[1],
            grpc_port=settings.grpc_port,
            workers=1,
            enable_grpc=bool(settings.grpc_port),
            enable_latency_logging=False,
            grace_period=settings.grace_seconds,
        )
        self.service, self.listener, self.routes, self.on_started = service, listener, routes, on_started
        self.dataplane = _ServiceDataPlane(service, self.registered_models)
        self.model_repository_extension = _ReleasesOnly(self.registered_models)

    def start(self, models: list[Model]) -> None:
        """Serves until SIGTERM or SIGINT, then drains: not ready, still answering, then closed."""
        self._register_and_check_atleast_one_model_is_ready(models)
        rest = _RestServer(self)
        with asyncio.Runner(loop_factory=rest.config.get_loop_factory()) as runner:
            runner.run(self._serve_both(rest))

    async def _serve_both(self, rest: "_RestServer") -> None:
        grpc = await self._start_grpc() if self.enable_grpc else None
        try:
            await rest.start()
        finally:
            if grpc is not None:
                await grpc.stop(self.grace_period)

    async def _start_grpc(self) -> aio.Server:
        # Without the option another server on the same port would get a share of this one's requests.
        server = aio.server(interceptors=(ExceptionToStatusInterceptor(),), options=(("grpc.so_reuseport", 0),))
        servicer = _Servicer(self.dataplane, self.model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        address = f"{self.service.settings.host}:{self.grpc_port}"
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            raise BadSetting(f"cannot listen on {address} for gRPC; choose another serving.grpc_port.") from None
        await server.start()
        return server


class _RestServer(RESTServer):
    def __init__(self, owner: TowerlineServer) -> None:
        super().__init__(
            "kserve.model_server:app",
            owner.dataplane,
            owner.model_repository_extension,
            owner.http_port,
            grace_period=owner.grace_period,
        )
        self.owner = owner
        self.config.host = owner.service.settings.host
        self.config.server_header = False
        self.config.http = OneWriteProtocol
        self._server = _DrainingServer(self.config, owner)

    def _register_endpoints(self, app: FastAPI) -> None:
        self.owner.routes(app)
        super()._register_endpoints(app)
        describe(app, self.owner.service.settings)

    def _add_exception_handlers(self, app: FastAPI) -> None:
        add_error_handlers(app)

    def _add_middlewares(self, app: FastAPI) -> None:
        service = self.owner.service
        app.add_middleware(RequestMiddleware, settings=service.settings, metrics=service.metrics)

    async def start(self) -> None:
        """Serves on the socket that was bound before anything was loaded."""
        self.create_application()
        await self._server.serve(sockets=[self.owner.listener])


class _DrainingServer(uvicorn.Server):
    """On the first signal the server says it is not ready and goes on answering for `drain_seconds`; then it closes."""

    def __init__(self, config: uvicorn.Config, owner: TowerlineServer) -> None:
        super().__init__(config)
        self.owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            check_listening(self.owner.listener, self.config.host, self.owner.http_port)
        except BadSetting:
            await self.lifespan.shutdown()
            raise
        self._loop = asyncio.get_running_loop()
        self.owner.on_started()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begins to drain; a second signal closes at once."""
        service = self.owner.service
        seconds = 0.0 if service.draining else service.settings.drain_seconds
        log(logging.INFO, "draining", signal=signal.Signals(sig).name, seconds=seconds)
        service.draining = True
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._close)

    def _close(self) -> None:
        self.should_exit = True


class _ServiceDataPlane(DataPlane):
    """Readiness comes from the service; whatever a body cannot be decoded as is the client's error."""

    def __init__(self, service: Service, registry: Any) -> None:
        super().__init__(registry)
        self._service = service

    async def ready(self) -> bool:
        """True while a new query can be answered."""
        return self._service.ready

    def decode(self, body: Any, headers: Any, *arguments: Any, **options: Any) -> Any:
        """As KServe decodes it. Raises BadRequest for what its decoder trips over."""
        if headers and "content-type" in headers:
            # "application/json; charset=utf-8" is JSON too; KServe compares the header as a whole.
            headers = {**headers, "content-type": headers["content-type"].split(";")[0].strip().lower()}
        try:
            return super().decode(body, headers, *arguments, **options)
        except _DECODING as error:
            raise BadRequest(f"the request body could not be decoded: {str(error)[:160]}.") from error

    async def explain(self, model_name: str, request: Any, headers: Any = None) -> tuple[Any, dict[str, str]]:
        """A model's explanation. KServe's own method sends the client's request headers back; this one sends none."""
        model: Any = await self.get_model(model_name)
        response, response_headers = await model(request, headers=headers, verb=InferenceVerb.EXPLAIN)
        return response, dict(response_headers)

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Inputs and outputs of a model, with the release's dimension."""
        return {**await super().model_metadata(model_name), "platform": "onnxruntime"}


class _ReleasesOnly(ModelRepositoryExtension):
    """Models come and go with releases, never by a request."""

    async def load(self, model_name: str) -> None:
        """Refused."""
        raise BadRequest("models are loaded by promoting a release, not by a request.", 403)

    async def unload(self, model_name: str) -> None:
        """Refused."""
        raise BadRequest("models are unloaded by retiring a release, not by a request.", 403)


class _Servicer(InferenceServicer):
    """Our typed errors as gRPC status codes."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        try:
            return await super().ModelInfer(request, context)
        except Unavailable as error:
            await context.abort(StatusCode.UNAVAILABLE, str(error))
        except NotFound as error:
            await context.abort(StatusCode.NOT_FOUND, str(error))
        except TowerlineError as error:
            await context.abort(StatusCode.INVALID_ARGUMENT, str(error))
