"""The table of media files."""

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="MediaFile",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=255)),
                ("size", models.BigIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("job_id", models.CharField(blank=True, max_length=36)),
                ("state", models.CharField(default="new", max_length=20)),
                ("url", models.CharField(blank=True, max_length=2048)),
                ("error", models.TextField(blank=True)),
                ("run", models.PositiveIntegerField(default=0)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ("-created_at",),
            },
        ),
    ]
