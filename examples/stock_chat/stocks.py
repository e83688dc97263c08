"""Stock prices: a light endpoint beside the slow chat."""

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

router = APIRouter()


class Stock(BaseModel):
    """A stock and its price in won. All of them are invented."""

    code: str
    name: str
    price: int


STOCKS = {
    stock.code: stock
    for stock in (
        Stock(code="990010", name="Hanbit Chips", price=71_300),
        Stock(code="990020", name="Saebyeok Motors", price=204_500),
        Stock(code="990030", name="Badaro Shipping", price=18_940),
    )
}


@router.get("/api/v1/stocks/{code}")
async def stock(code: str) -> Stock:
    """Get a stock."""
    if code not in STOCKS:
        raise HTTPException(404, f"There is no stock {code}.")
    return STOCKS[code]
