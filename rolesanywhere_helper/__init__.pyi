from rolesanywhere_helper.api import Credentials as Credentials
from rolesanywhere_helper.api import SessionArguments as SessionArguments
from rolesanywhere_helper.api import aiobotocore_session as aiobotocore_session
from rolesanywhere_helper.api import boto3_session as boto3_session
from rolesanywhere_helper.api import credentials as credentials

__version__: str
