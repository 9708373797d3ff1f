"""Validate an RO-Crate without a network: validate_crate.py DIR PROFILE.

Run in the environment that has roc-validator. The context of RO-Crate 1.1 is on the web; this has
those of its terms that a capsule uses. Prints the issues, and exits with 1 where there are any.
"""

import io
import json
import sys
import urllib.request

import rdflib.parser
import requests
import urllib3
from rocrate_validator import models, services

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
TERMS = {
    name: f"http://schema.org/{name}"
    for name in (
        *("CreativeWork", "Dataset", "CreateAction", "SoftwareApplication", "Person"),
        *("about", "actionStatus", "contentSize", "datePublished", "description", "endTime"),
        *("error", "hasPart", "instrument", "license", "mentions", "name", "object", "result"),
        *("startTime", "softwareVersion", "version", "sha256", "agent", "CompletedActionStatus"),
    )
}
TERMS["File"] = "http://schema.org/MediaObject"
TERMS["conformsTo"] = "http://purl.org/dc/terms/conformsTo"

BODY = json.dumps({"@context": TERMS}).encode()
TYPE = "application/ld+json"


class _Answer(io.BytesIO):
    headers = {"Content-Type": TYPE}  # noqa: RUF012
    url = CONTEXT
    code = status = 200

    def info(self):
        return self.headers

    def geturl(self):
        return self.url


def _for_urllib(request, *args, **kwargs):
    address = request if isinstance(request, str) else request.full_url
    assert address == CONTEXT, f"the crate needs {address}"
    return _Answer(BODY)


def _for_requests(adapter, request, **kwargs):
    assert request.url == CONTEXT, f"the crate needs {request.url}"
    response = requests.Response()
    response.status_code = 200
    response.url = request.url
    response.request = request
    response.headers["Content-Type"] = TYPE
    response.raw = urllib3.HTTPResponse(
        io.BytesIO(BODY), headers=dict(response.headers), status=200, preload_content=False
    )
    return response


def main(folder: str, profile: str) -> int:
    urllib.request.urlopen = _for_urllib
    rdflib.parser._urlopen = _for_urllib
    requests.adapters.HTTPAdapter.send = _for_requests
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier=profile,
        requirement_severity=models.Severity.REQUIRED,
    )
    result = services.validate(settings)
    for issue in result.get_issues():
        print(f"{issue.severity.name}: {issue.message} ({issue.violatingEntity})")
    return 0 if result.passed() else 1


sys.exit(main(*sys.argv[1:]))
