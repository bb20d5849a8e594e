"""Key types and the names that follow from them."""

from __future__ import annotations

from enum import Enum
from typing import assert_never


class KeyType(Enum):
    """The type of the leaf's key; the value is the name that ``read-certificate-data`` prints."""

    RSA = "RSA"
    EC = "EC"
    ML_DSA_44 = "ML-DSA-44"
    ML_DSA_65 = "ML-DSA-65"
    ML_DSA_87 = "ML-DSA-87"

    @property
    def signing_algorithm(self) -> str:
        """The algorithm's name in Authorization and string to sign.

        It follows the type of the leaf's own key, never the hash with which the issuer signed the certificate
        (user guide, "authentication-sign-process").
        """
        match self:
            case KeyType.RSA:
                return "AWS4-X509-RSA-SHA256"
            case KeyType.EC:
                return "AWS4-X509-ECDSA-SHA256"
            case KeyType.ML_DSA_44 | KeyType.ML_DSA_65 | KeyType.ML_DSA_87:
                return "AWS4-X509-MLDSA"
            case _:
                assert_never(self)
