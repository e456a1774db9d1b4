"""The stack that Bucketline grew out of, as its users run it: Django, Django REST framework, django_rq, boto3."""
