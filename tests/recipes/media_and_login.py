"""Requests for media, their administration, logging in, and resources of all below a path."""

from dataclasses import replace

from tests.account_flows import png
from tests.behaviour import Call, World, recipe, unique


@recipe("DownloadResource", "ThumbnailResource")
def _media(world: World) -> Call:
    query = {"width": "32", "height": "32", "method": "crop"}
    return Call(token=world.alice.token, query=query)


@recipe(
    "/_matrix/media/(r0|v3|v1)/download/(?P<server_name>[^/]*)/(?P<media_id>[^/]*)"
    "(/(?P<file_name>[^/]*))?$",
    "/_matrix/media/(r0|v3|v1)/thumbnail/(?P<server_name>[^/]*)/(?P<media_id>[^/]*)$",
)
def _old_media(world: World) -> Call:
    # Media that were uploaded since downloads need a token are not there.
    return replace(_media(world), status=404)


@recipe("PreviewUrlResource", "PreviewURLServlet")
def _preview(world: World) -> Call:
    url = f"{world.base_url}/_matrix/client/versions"
    return Call(token=world.alice.token, query={"url": url})


@recipe("UploadServlet", methods="POST")
def _upload(world: World) -> Call:
    return Call(token=world.alice.token, body=png(8, 8))


@recipe("AsyncUploadServlet", methods="PUT")
def _upload_later(world: World) -> Call:
    process = "media_repository1" if world.has_media_worker else "main"
    made = world.call("POST", "/_matrix/media/v1/create", process=process)
    media_id = str(made["content_uri"]).rpartition("/")[2]
    return Call(token=world.alice.token, values={"media_id": media_id}, body=png(8, 8))


@recipe("FederationMediaThumbnailServlet")
def _federated_thumbnail(_: World) -> Call:
    return Call(federation=True, query={"width": "32", "height": "32", "method": "crop"})


@recipe(
    "QueryMediaById", "ListQuarantineChanges", "ListMediaInRoom", "UserMediaRestServlet",
    "RoomRestServlet", "UserRestServletV2",
)  # fmt: skip
def _administration(world: World) -> Call:
    return Call(token=world.admin)


@recipe(
    "ProtectMediaByID", "UnprotectMediaByID", "QuarantineMediaInRoom", "QuarantineMediaByUser",
    "QuarantineMediaByID", "UnquarantineMediaByID", methods="POST",
)  # fmt: skip
def _change_media(world: World) -> Call:
    values = {"media_id": world.media(), "room_id": world.room(world.alice)}
    return Call(token=world.admin, values={**values, "user_id": world.user().user_id}, body={})


@recipe("DeleteMediaByDateSize", "PurgeMediaCacheRestServlet", methods="POST")
def _delete_old_media(world: World) -> Call:
    # Synapse takes no time before 1980 for milliseconds.
    return Call(token=world.admin, query={"before_ts": "1000000000000"}, body={})


@recipe("DeleteMediaByID", "UserMediaRestServlet", methods="DELETE")
def _delete_media(world: World) -> Call:
    values = {"media_id": world.media(), "user_id": world.user().user_id}
    return Call(token=world.admin, values=values)


@recipe("RoomRestServlet", methods="DELETE")
def _delete_room(world: World) -> Call:
    return Call(token=world.admin, values={"room_id": world.room(world.bob)}, body={})


# Resources that serve all below their path.


@recipe(r"^/\.well\-known(/|$)")
def _well_known(_: World) -> Call:
    return Call(path="/matrix/client")


@recipe("Resource")
def _pick_username(_: World) -> Call:
    # Nobody began a login.
    return Call(path="/account_details", status=400)


@recipe("FederationWhitelistResource")
def _whitelist(world: World) -> Call:
    return Call(token=world.alice.token)


@recipe("PickIdpResource")
def _pick_idp(_: World) -> Call:
    return Call(query={"redirectUrl": "https://client.example/"})


@recipe("UnsubscribeResource", "NewUserConsentResource", "SsoRegisterResource")
def _without_session(_: World) -> Call:
    return Call(status=400)


@recipe("OIDCResource")
def _oidc(_: World) -> Call:
    return Call(path="/callback", status=400)


# Logging in.


@recipe("LoginRestServlet", methods="POST")
def _login(world: World) -> Call:
    return Call(body=world.alice.proof)


@recipe("RegisterRestServlet", methods="POST")
def _register(_: World) -> Call:
    return Call(
        body={"username": unique(), "password": unique(), "auth": {"type": "m.login.dummy"}}
    )


@recipe("UsernameAvailabilityRestServlet")
def _available(_: World) -> Call:
    return Call(query={"username": unique()})


@recipe("RegistrationTokenValidityRestServlet")
def _token_validity(_: World) -> Call:
    return Call(query={"token": "none"})


@recipe("SsoRedirectServlet")
def _sso(_: World) -> Call:
    return Call(query={"redirectUrl": "https://client.example/"}, status=302)


@recipe("CasTicketServlet")
def _cas(_: World) -> Call:
    # The service that would know the ticket does not exist.
    query = {"ticket": "x", "redirectUrl": "https://client.example/"}
    return Call(query=query, status=500)


@recipe("AuthMetadataServlet")
def _auth_metadata(_: World) -> Call:
    # Synapse has them where another service logs users in.
    return Call(status=404)
