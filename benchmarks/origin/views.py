"""The endpoint: the form's file goes to a temp file, a job to the queue, and the client gets 202."""

from __future__ import annotations

import os
import tempfile
import uuid

import django_rq
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.origin.tasks import store_file


class UploadSerializer(serializers.Serializer):  # type: ignore[misc]
    file = serializers.FileField()


class UploadView(APIView):  # type: ignore[misc]
    parser_classes = (MultiPartParser,)

    def post(self, request: Request) -> Response:
        form = UploadSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        upload = form.validated_data["file"]
        with tempfile.NamedTemporaryFile(delete=False, dir=os.environ.get("ORIGIN_SPOOL")) as target:
            for chunk in upload.chunks():
                target.write(chunk)
        key = f"{uuid.uuid4()}/{upload.name}"
        job = django_rq.enqueue(store_file, target.name, key)
        return Response({"job": job.id, "key": key}, status=202)
