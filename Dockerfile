# ezm on a PC or a Jetson; docs/docker.md has the table of build arguments and what was tried.
#   docker build -t ezm .                                                 a PC, ROS 2 Jazzy, amd64 or arm64
#   docker build -t ezm --build-arg BASE=ros:humble-ros-base .            JetPack 6, on its CPU
#   ... --build-arg TENSORRT_IMAGE=<an image of that JetPack's TensorRT>  the same on its GPU
#   docker build -t ezm-dev --target dev .                                training, distilling, tests
# No GPU is needed to build. Every step is a script of docker/install that also runs without Docker.

ARG BASE=ros:jazzy-ros-base
ARG TENSORRT_IMAGE=${BASE}

FROM ${TENSORRT_IMAGE} AS tensorrt
COPY docker/install/tensorrt.sh /install/
RUN /install/tensorrt.sh / /opt/tensorrt

FROM ${BASE} AS base
ARG UID=10001
COPY docker/install /opt/ezm/install
RUN /opt/ezm/install/system.sh runtime && /opt/ezm/install/user.sh robot "${UID}"

FROM base AS source
COPY pyproject.toml constraints.txt LICENSE NOTICE README.md /src/
COPY tools /src/tools
COPY ros2_ws /src/ros2_ws
COPY models /src/models
COPY runtime /src/runtime
COPY training /src/training
COPY distill /src/distill
COPY reports /src/reports

FROM source AS build
ARG EXTRAS=sim
RUN /opt/ezm/install/system.sh build
RUN /opt/ezm/install/ezm.sh /src /opt/ezm "record${EXTRAS:+,${EXTRAS}}"
RUN /src/tools/make_cyclonedds.sh /opt/ezm/venv

FROM source AS dev
RUN /opt/ezm/install/system.sh dev
RUN /opt/ezm/install/ezm.sh /src /opt/ezm sim,view,record,train,distill,dev
COPY docker/entrypoint.sh /opt/ezm/
COPY tests /src/tests
COPY docs /src/docs
COPY docker /src/docker
COPY Makefile Dockerfile /src/
RUN chown -R robot:robot /src
WORKDIR /src
USER robot
ENTRYPOINT ["/opt/ezm/entrypoint.sh"]
CMD ["bash"]

FROM base AS robot
COPY --from=build /opt/ezm /opt/ezm
COPY --from=tensorrt /opt/tensorrt /opt/tensorrt
COPY docker/entrypoint.sh /opt/ezm/
RUN echo /opt/tensorrt/lib >/etc/ld.so.conf.d/ezm-tensorrt.conf && ldconfig
ENV EZM_ENDPOINT=ipc:///run/ezm/h1 \
    EZM_ENGINE=ort \
    EZM_POLICY=models/h1/policy.onnx \
    XDG_CACHE_HOME=/var/cache/ezm \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/ezm
USER robot
VOLUME ["/var/cache/ezm"]
# `ros2 launch` ends cleanly by SIGINT only; the robot process damps for three seconds before it ends
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=2 \
    CMD ["/opt/ezm/venv/bin/python", "-m", "runtime.health"]
ENTRYPOINT ["/opt/ezm/entrypoint.sh"]
CMD ["python", "-m", "ezm_runtime.bringup", "endpoint=ipc:///run/ezm/h1"]
